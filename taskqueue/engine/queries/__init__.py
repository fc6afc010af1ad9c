"""The read side for the API and the admin: tasks, filters, stats, why a task waits."""
