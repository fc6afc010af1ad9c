"""What a worker process executes at once: plain tasks in threads, async ones on an event loop."""
