"""Flow control: which tasks and steps may start, under concurrency limits, rate limits and the slots of steps."""
