"""Pipelines that tests of several folders run."""
