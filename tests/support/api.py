"""A client for the API, and helpers for its tests."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Group, User
from django.test import Client

from taskqueue.engine.maintenance import rollups
from taskqueue.models import PipelinePermission, Task
from taskqueue.testing import advance, work
from tests.support.pipelines import orders as pipelines
from tests.support.users import client_of

PROBLEM_MEMBERS = {"type", "title", "status", "detail", "code", "errors"}
ENDPOINTS = [
    ("GET", "/api/tasks", "view_task"),
    ("POST", "/api/tasks", "add_task"),
    ("POST", "/api/tasks/batch", "add_task"),
    ("GET", "/api/tasks/{id}", "view_task"),
    ("GET", "/api/tasks/{id}/status", "view_task"),
    ("POST", "/api/tasks/{id}/retry", "retry_task"),
    ("POST", "/api/tasks/{id}/cancel", "cancel_task"),
    ("POST", "/api/tasks/{id}/rerun", "add_task"),
    ("POST", "/api/events", "add_event"),
    ("GET", "/api/events", "view_event"),
    ("GET", "/api/pipelines", "view_pipeline"),
    ("GET", "/api/pipelines/shop/order", "view_pipeline"),
    ("GET", "/api/schedules", "view_schedule"),
    ("GET", "/api/workers", "view_worker"),
    ("GET", "/api/subscriptions", "view_subscription"),
    ("GET", "/api/alert-rules", "view_alertrule"),
    ("GET", "/api/skips", "view_skip"),
    ("GET", "/api/concurrency-limits", "view_concurrencylimit"),
    ("GET", "/api/rate-limits", "view_ratelimit"),
    ("GET", "/api/tokens", "view_token"),
    ("GET", "/api/permissions", "view_pipelinepermission"),
]
BODY = {"pipeline": "shop/order", "payload": {"number": "A1"}}
BODIES: dict[str, object] = {
    "/api/tasks": BODY,
    "/api/tasks/batch": {"tasks": [BODY]},
    "/api/events": {"name": "order/paid"},
}


class Api:
    """A client that sends JSON."""

    def __init__(self, **extra: Any) -> None:
        self.client = Client(**{"wsgi.multithread": True, **extra})

    def get(self, path: str, **query: Any) -> Any:
        return self.client.get(path, query)

    def post(self, path: str, body: object = None, *, raw: bytes | None = None, **headers: str) -> Any:
        content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        return self.client.post(path, content, content_type="application/json", headers=headers)

    def patch(self, path: str, body: object) -> Any:
        return self.client.patch(path, json.dumps(body), content_type="application/json")

    def delete(self, path: str) -> Any:
        return self.client.delete(path)


class Caller(Api):
    """A staff user with these permissions."""

    def __init__(self, name: str, *permissions: str) -> None:
        super().__init__()
        self.client = client_of(name, *permissions)


def roll_up_ended(*, duration: timedelta) -> None:
    """Give each task this execution time, and roll up all ended tasks."""
    Task.objects.update(executing_seconds=duration.total_seconds(), queued_seconds=2)
    advance(minutes=3)
    while rollups.roll_up_window():
        pass


def enqueue_order(number: str, **options: Any) -> Task:
    return pipelines.order.using(**options).enqueue(pipelines.Order(number=number))


def finish_order() -> Task:
    """A succeeded task."""
    task = enqueue_order("succeeded")
    work()
    return Task.objects.get(pk=task.pk)


def fail_order() -> Task:
    """A task that failed in its second step."""
    task = enqueue_order("failed")
    pipelines.broken["ship"] = 1
    work()
    return Task.objects.get(pk=task.pk)


def problem_of(response: Any) -> tuple[int, str, list[str]]:
    """A problem in short: status, code, and the pointers of its errors."""
    assert response["Content-Type"] == "application/problem+json"
    body = json.loads(response.content)
    assert set(body) == PROBLEM_MEMBERS
    assert body["status"] == response.status_code
    assert body["type"] == f"urn:taskqueue:problem:{body['code']}"
    assert body["title"]
    assert body["detail"]
    return body["status"], body["code"], [each["pointer"] for each in body["errors"]]


def call(caller: Api, method: str, path: str, task: Task):
    address = path.format(id=task.pk)
    return caller.get(address) if method == "GET" else caller.post(address, BODIES.get(address))


def grant(pipeline: Any = "shop/order", *, user: User | None = None, **actions: Any) -> PipelinePermission:
    """Create a pipeline permission for a user, or for the group `others`."""
    owner: Any = {"user": user} if user else {"group": Group.objects.get_or_create(name="others")[0]}
    return PipelinePermission.objects.create(pipeline_id=pipeline, **owner, **actions)
