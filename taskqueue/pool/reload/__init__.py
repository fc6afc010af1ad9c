"""`manage.py worker --reload`: restart the worker when a file of the project changes."""
