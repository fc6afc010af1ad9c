"""The command line: `taskqueue …` calls the API of a service, `manage.py taskqueue …` works inside the project.

Nothing here imports Django, except `in_project`, which only the command of `manage.py` uses.
"""
