"""What every test of the engine starts from."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.worker.heartbeat import Heartbeat
from tests.support.database.full_tables import full
from tests.support.pipelines import basic as pipelines

__all__ = ["full"]


@pytest.fixture(autouse=True)
def _nothing_done_yet():
    """No call recorded, nothing broken."""
    pipelines.calls.clear()
    pipelines.broken.clear()


@pytest.fixture(autouse=True)
def _settled_database(monkeypatch):
    """The tests' database may have started a second ago; their workers need no time to take their locks again."""
    monkeypatch.setattr(dispatch, "SETTLING", timedelta(0))


@pytest.fixture
def heart():
    heart = Heartbeat("a-cluster")
    heart.start()
    yield heart
    heart.stop()
