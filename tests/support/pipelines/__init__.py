"""Pipelines that tests of several rooms execute."""
