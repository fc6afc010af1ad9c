"""Pipelines and schedules of the code, as rows."""
