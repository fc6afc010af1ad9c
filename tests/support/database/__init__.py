"""Filling, reading and racing in the database of the tests."""
