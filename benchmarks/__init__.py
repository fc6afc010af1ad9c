"""What taskqueue costs, measured against what the same database costs at the least. `make bench` runs it."""
