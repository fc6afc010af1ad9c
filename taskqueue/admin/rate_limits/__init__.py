"""Rates and limits, and blocking a rate."""
