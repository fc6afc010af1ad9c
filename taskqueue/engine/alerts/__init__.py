"""Alerts: what is checked (conditions), what fires now (evaluate), and the messages about it (messages)."""
