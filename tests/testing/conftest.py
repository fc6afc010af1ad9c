"""The fixtures of the plugin, as in a project that has installed taskqueue."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskqueue.testing.plugin import advance, fake_step, run_inline, taskqueue_worker
from tests.support.registries import own_registry

__all__ = ["advance", "fake_step", "run_inline", "taskqueue_worker"]


@pytest.fixture(autouse=True)
def _own_registry() -> Iterator[None]:
    """Remove the pipelines that a test defines."""
    with own_registry():
        yield
