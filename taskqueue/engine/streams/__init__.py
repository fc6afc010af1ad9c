"""Streams: what happens to a task, event by event, for callers that follow it."""
