"""What pages and the API read of tasks: lists, the state of one, and why it waits."""
