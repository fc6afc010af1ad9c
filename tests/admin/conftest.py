"""Users with different permissions, and tasks with different statuses."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client

from demo.pipelines import DemoRequest, demo_task
from taskqueue.admin import navigation
from taskqueue.engine.queries.stats import BadgeCounts
from taskqueue.models import Pipeline, Task
from taskqueue.testing import work
from tests.support.users import client_of


@pytest.fixture(autouse=True)
def _database(db):
    """All pages need the database."""


@pytest.fixture(autouse=True)
def _empty_cache():
    """Tests share no cached values."""
    cache.clear()


@pytest.fixture(autouse=True)
def _navigation_counts(request, monkeypatch):
    """Stub the navigation's query, so that tests which count queries need not add it."""
    if "test_navigation" not in request.node.nodeid:
        monkeypatch.setattr(navigation, "badge_counts", lambda: BadgeCounts(0, 0, 1, 0))


@pytest.fixture
def viewer() -> Client:
    return client_of("vera", "view_task", "view_pipeline", "view_worker", "view_skip", "view_schedule")


@pytest.fixture
def operator() -> Client:
    return client_of("olga", "view_task", "retry_task", "cancel_task", "add_task")


@pytest.fixture
def stranger() -> Client:
    """A staff user without permissions here."""
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
    """A pipeline that the code no longer has."""
    return Pipeline.objects.create(name="gone/away")
