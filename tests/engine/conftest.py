"""Fixtures of all tests of the engine."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.worker.heartbeat import Heartbeat
from tests.support.database.full_tables import full
from tests.support.pipelines import basic as pipelines

__all__ = ["full"]


@pytest.fixture(autouse=True)
def _reset_pipelines():
    """Reset the recorded calls and the failures of the test pipelines."""
    pipelines.calls.clear()
    pipelines.broken.clear()


@pytest.fixture(autouse=True)
def _no_startup_grace(monkeypatch):
    """Without the grace period for locks: the tests' database may have started a second ago."""
    monkeypatch.setattr(dispatch, "STARTUP_GRACE", timedelta(0))


@pytest.fixture
def heartbeat():
    heartbeat = Heartbeat("a-cluster")
    heartbeat.start()
    yield heartbeat
    heartbeat.stop()
