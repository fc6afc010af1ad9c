"""Actions of users and programs, except those on tasks (`tasks/control.py`), each with its audit entry."""
