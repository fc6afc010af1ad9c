"""The REST API: thin doors to the engine. `taskqueue/urls.py` lists them; `problems.py` is how each says no."""
