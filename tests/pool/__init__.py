"""Tests of the worker pool, with real processes."""
