"""Catalog: pipelines, steps, limits, triggers and schedules of the code, synced to rows."""
