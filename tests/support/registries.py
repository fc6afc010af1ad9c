"""A separate registry for tests that define pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from taskqueue.definitions import registry


@contextmanager
def own_registry(*, empty: bool = False) -> Iterator[None]:
    """Remove definitions made inside the block at its end; `empty` also hides earlier ones within it."""
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
