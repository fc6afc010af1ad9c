"""A verb for all tasks that a filter matches."""
