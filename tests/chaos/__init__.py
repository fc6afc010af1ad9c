"""Long-running chaos tests, which `make test` leaves out: `python -m tests.chaos` (or `make chaos`)."""
