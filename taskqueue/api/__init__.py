"""The REST API: a view per resource, thin above the engine.

`taskqueue/urls.py` lists the addresses, `problems.py` answers errors, and `openapi/` describes it all.
"""
