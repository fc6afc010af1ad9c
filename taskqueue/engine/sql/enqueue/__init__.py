"""Enqueue: create one task or many, and find the task that a request shares with earlier ones."""
