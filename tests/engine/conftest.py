"""What every test of the engine starts from."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue.engine.maintenance import dispatch
from tests.engine import pipelines
from tests.engine.full_tables import full

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
