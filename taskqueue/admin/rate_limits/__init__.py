"""Rate limits, their usage, and concurrency limits; a rate limit can be blocked."""
