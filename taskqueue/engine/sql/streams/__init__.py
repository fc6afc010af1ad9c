"""Streams to callers: what steps write, and what has changed."""
