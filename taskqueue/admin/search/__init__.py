"""How the task list reads its URL parameters and its search box."""
