"""Fixtures of the authoring tests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from taskqueue.engine.maintenance import dispatch
from taskqueue.testing.workers import InProcessWorker
from tests.support.event_loops import work_on_event_loop
from tests.support.registries import own_registry


@pytest.fixture(autouse=True)
def _own_registry() -> Iterator[None]:
    """Remove the pipelines that a test defines."""
    with own_registry():
        yield


@pytest.fixture(autouse=True)
def _settled_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the startup grace: the tests' database may have started a second ago."""
    monkeypatch.setattr(dispatch, "STARTUP_GRACE", timedelta(0))


@pytest.fixture(params=["thread", "event loop"])
def lane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Execute async tasks in the test's thread, and once more on an event loop that many tasks share."""
    if request.param == "event loop":
        monkeypatch.setattr(InProcessWorker, "work", work_on_event_loop(InProcessWorker.work))
    return str(request.param)


@pytest.fixture
def calls() -> list[object]:
    """The steps that a test has really called, in order."""
    return []
