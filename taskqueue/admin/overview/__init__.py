"""The first page: failures that need attention, and how the last hours went."""
