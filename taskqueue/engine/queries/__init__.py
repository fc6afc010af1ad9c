"""Queries: what the API and the admin read, each with a fixed number of statements."""
