"""A worker claims tasks, executes them in a loop, settles them, and keeps its heartbeat. Begins in `loop`."""
