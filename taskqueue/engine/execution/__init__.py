"""A pipeline's body runs; each step is replayed, or called and recorded in the journal. Begins in `run`."""
