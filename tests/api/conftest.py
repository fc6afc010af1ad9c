"""Callers of the API, and tasks for them to find."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from taskqueue.engine.maintenance import rollups
from taskqueue.models import Task
from taskqueue.testing import advance, work
from tests.api import pipelines

PROBLEM_MEMBERS = {"type", "title", "status", "detail", "code", "errors"}


@pytest.fixture(autouse=True)
def _nothing_broken() -> Iterator[None]:
    yield
    pipelines.broken.clear()


class Api:
    """A caller that speaks JSON."""

    def __init__(self, **extra: Any) -> None:
        self.client = Client(**{"wsgi.multithread": True, **extra})

    def get(self, path: str, **query: Any) -> Any:
        return self.client.get(path, query)

    def post(self, path: str, body: object = None, *, raw: bytes | None = None, **headers: str) -> Any:
        content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        return self.client.post(path, content, content_type="application/json", headers=headers)


@pytest.fixture
def api(db: None, settings: Any) -> Api:
    """A caller on this machine, with DEBUG on: nothing more is asked of it."""
    settings.DEBUG = True
    return Api(SERVER_NAME="localhost")


@pytest.fixture
def caller_with(db: None) -> Callable[..., Api]:
    """Make a caller who is logged in with these permissions; DEBUG is off."""

    def make(*permissions: str, is_staff: bool = True, enforce_csrf_checks: bool = False) -> Api:
        user = User.objects.create_user("dana", is_staff=is_staff)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        caller = Api(enforce_csrf_checks=enforce_csrf_checks)
        caller.client.force_login(user)
        return caller

    return make


@pytest.fixture
def stranger(db: None) -> Api:
    """A caller without a login; DEBUG is off."""
    return Api()


@pytest.fixture
def queued(db: None) -> Task:
    """A task that waits for a worker."""
    return enqueue_order("queued")


@pytest.fixture
def succeeded(db: None) -> Task:
    """A task that has succeeded."""
    task = enqueue_order("succeeded")
    work()
    return Task.objects.get(pk=task.pk)


@pytest.fixture
def failed(db: None) -> Task:
    """A task that has failed in its second step."""
    task = enqueue_order("failed")
    pipelines.broken["ship"] = 1
    work()
    return Task.objects.get(pk=task.pk)


def roll_up_ended(*, took: timedelta) -> None:
    """Let each task have been executed for so long, and have all that has ended counted."""
    Task.objects.update(executing_seconds=took.total_seconds(), queued_seconds=2)
    advance(minutes=3)
    while rollups.roll_further():
        pass


def enqueue_order(number: str, **options: Any) -> Task:
    return pipelines.order.using(**options).enqueue(pipelines.Order(number=number))


def problem_of(response: Any) -> tuple[int, str, list[str]]:
    """What a problem says in short: its status, its code, and where the faults lie."""
    assert response["Content-Type"] == "application/problem+json"
    body = json.loads(response.content)
    assert set(body) == PROBLEM_MEMBERS
    assert body["status"] == response.status_code
    assert body["type"] == f"urn:taskqueue:problem:{body['code']}"
    assert body["title"]
    assert body["detail"]
    return body["status"], body["code"], [fault["pointer"] for fault in body["errors"]]
