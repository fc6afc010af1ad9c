"""The fixtures of the plugin, as a project has them that has installed taskqueue."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskqueue.definitions import registry
from taskqueue.testing.plugin import advance, fake_step, run_inline, taskqueue_worker

__all__ = ["advance", "fake_step", "run_inline", "taskqueue_worker"]


@pytest.fixture(autouse=True)
def _own_registry() -> Iterator[None]:
    """Tests define pipelines as they need them; each one's are forgotten after it."""
    before = dict(registry._pipelines)
    yield
    registry._pipelines.clear()
    registry._pipelines.update(before)
