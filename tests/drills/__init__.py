"""Long drills, which `make test` leaves out: `python -m tests.drills` (or `make drill`)."""
