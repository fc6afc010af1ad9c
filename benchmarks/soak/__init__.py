"""The soak: `python -m benchmarks.soak --minutes 30`."""
