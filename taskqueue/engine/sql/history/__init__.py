"""History: statistics of ended tasks, and the deletion of old rows."""
