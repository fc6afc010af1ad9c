"""A registry of its own for a test that defines pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from taskqueue.definitions import registry


@contextmanager
def own_registry(*, empty: bool = False) -> Iterator[None]:
    """What is defined inside is forgotten afterwards; `empty` also hides what was defined before."""
    before, steps = dict(registry._pipelines), dict(registry._steps)
    if empty:
        registry._pipelines.clear()
        registry._steps.clear()
    try:
        yield
    finally:
        registry._pipelines.clear()
        registry._pipelines.update(before)
        registry._steps.clear()
        registry._steps.update(steps)
