"""The worker of a process's async tasks: many at once on one event loop, with few connections."""
