"""The fixtures of the plugin, as a project has them that has installed taskqueue."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskqueue.testing.plugin import advance, fake_step, run_inline, taskqueue_worker
from tests.support.registries import own_registry

__all__ = ["advance", "fake_step", "run_inline", "taskqueue_worker"]


@pytest.fixture(autouse=True)
def _own_registry() -> Iterator[None]:
    """Tests define pipelines as they need them; each one's are forgotten after it."""
    with own_registry():
        yield
