"""The first page: what needs attention, and how the last hours went."""
