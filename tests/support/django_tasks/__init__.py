"""An app with Django tasks."""
