"""A call becomes a task, or an existing task stands in for it."""
