"""Subscriptions to the ends of tasks."""
