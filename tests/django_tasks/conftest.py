"""Fixtures of the tests of the backend for Django's tasks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from taskqueue.definitions import registry
from taskqueue.django_tasks import register_tasks
from taskqueue.engine.maintenance import dispatch
from taskqueue.testing.workers import InProcessWorker
from tests.support.django_tasks import elsewhere, tasks
from tests.support.event_loops import work_on_event_loop
from tests.support.registries import own_registry


@pytest.fixture(autouse=True)
def _registered_tasks() -> Iterator[None]:
    """Give the tasks of the app's `tasks` module their pipelines, as its start does, and forget their calls."""
    tasks.calls.clear()
    with own_registry():
        register_tasks()
        for name in registry.names():
            if name.startswith(elsewhere.__name__):
                del registry._pipelines[name]
        yield


@pytest.fixture(autouse=True)
def _settled_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the startup grace: the tests' database may have started a second ago."""
    monkeypatch.setattr(dispatch, "STARTUP_GRACE", timedelta(0))


@pytest.fixture
def event_loop_of_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Execute async tasks on an event loop that many tasks share."""
    monkeypatch.setattr(InProcessWorker, "work", work_on_event_loop(InProcessWorker.work))
