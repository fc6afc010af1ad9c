"""One task: its steps, attempts and timeline, and what can be done about it."""
