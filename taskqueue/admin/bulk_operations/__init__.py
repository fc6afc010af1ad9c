"""Bulk operations: an action on all tasks that match a filter."""
