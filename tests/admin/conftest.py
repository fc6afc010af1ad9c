"""People with different rights, and tasks in different states."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client

from demo.pipelines import DemoRequest, demo_task
from taskqueue.admin import navigation
from taskqueue.engine.queries.stats import Pills
from taskqueue.models import Pipeline, Task
from taskqueue.testing import work
from tests.support.users import client_of


@pytest.fixture(autouse=True)
def _database(db):
    """Every page reads rows."""


@pytest.fixture(autouse=True)
def _nothing_kept():
    """What one test has seen is not what the next one sees."""
    cache.clear()


@pytest.fixture(autouse=True)
def _numbers_of_the_navigation(request, monkeypatch):
    """The navigation's one query is counted where it is tested, not on every page."""
    if "test_navigation" not in request.node.nodeid:
        monkeypatch.setattr(navigation, "pills", lambda: Pills(0, 0, 1, 0))


@pytest.fixture
def viewer() -> Client:
    return client_of("vera", "view_task", "view_pipeline", "view_worker", "view_skip", "view_schedule")


@pytest.fixture
def operator() -> Client:
    return client_of("olga", "view_task", "retry_task", "cancel_task", "add_task")


@pytest.fixture
def stranger() -> Client:
    """Staff, but with no rights here."""
    return client_of("stan")


@pytest.fixture
def admin() -> Client:
    client = client_of("ada")
    User.objects.filter(username="ada").update(is_superuser=True)
    return client


@pytest.fixture
def queued() -> Task:
    return demo_task.enqueue(DemoRequest(label="queued", delay_seconds=0))


@pytest.fixture
def failed() -> Task:
    task = demo_task.enqueue(DemoRequest(label="broken", delay_seconds=0, simulate_failure=True))
    work()
    return Task.objects.get(pk=task.pk)


@pytest.fixture
def succeeded() -> Task:
    task = demo_task.enqueue(DemoRequest(label="fine", delay_seconds=0))
    work()
    return Task.objects.get(pk=task.pk)


@pytest.fixture
def retrying() -> Task:
    task = demo_task.enqueue(DemoRequest(label="unsteady", delay_seconds=0, failures_before_success=2))
    work()
    return Task.objects.get(pk=task.pk)


@pytest.fixture
def pipeline_without_code() -> Pipeline:
    """A pipeline whose code was removed while its tasks are kept."""
    return Pipeline.objects.create(name="gone/away")
