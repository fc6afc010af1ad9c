"""One page of each kind and one call of each endpoint: what a Python or a Django that is too new breaks first."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db.models.functions import Now
from django.urls import reverse

from demo.pipelines import DemoRequest, demo_task
from demo.publishing import PublishRequest, publish
from taskqueue.api.openapi.schema import current_schema
from taskqueue.engine.actions import tokens
from taskqueue.engine.events import send
from taskqueue.ids import uuid7
from taskqueue.models import (
    AlertRule,
    BulkOperation,
    ConcurrencyLimit,
    Pipeline,
    PipelinePermission,
    RateLimit,
    Schedule,
    Subscription,
    Task,
    Worker,
)
from taskqueue.testing import InProcessWorker, work

pytestmark = [pytest.mark.smoke, pytest.mark.django_db]

BODIES = {
    "createTask": {"pipeline": "demo/task", "payload": {"label": "one"}},
    "createTasks": {"tasks": [{"pipeline": "demo/task", "payload": {"label": "many"}}]},
    "sendEvent": {"name": "demo/approved", "data": {}},
    "pausePipeline": {"reason": "smoke"},
    "createToken": {"name": "smoke"},
    "createPermission": {"pipeline": "demo/task", "group": "smoke"},
    "blockRateLimit": {"seconds": 1, "reason": "smoke"},
    "changePipeline": {"queue": "smoke"},
    "createAlertRule": {"name": "smoke", "condition": "connections", "threshold": 90},
    "silenceAlertRule": {"seconds": 60},
    "createSubscription": {"address": "https://example.com/hook"},
}


@pytest.fixture
def tasks() -> list[Task]:
    """One that has succeeded, one that has failed, one that waits, and one that is queued."""
    request = DemoRequest(label="fine", delay_seconds=0)
    made = [
        demo_task.enqueue(request),
        demo_task.enqueue(request.model_copy(update={"simulate_failure": True})),
        publish.enqueue(PublishRequest(title="On smoke", pages=1)),
    ]
    work()
    return [*Task.objects.filter(pk__in=[task.pk for task in made]), demo_task.enqueue(request)]


def test_every_page_of_the_admin_is_shown(admin_client, tasks):
    assert {"succeeded", "failed", "waiting", "queued"} <= {task.status for task in tasks}
    ours = {model: site for model, site in admin.site._registry.items() if model._meta.app_label == "taskqueue"}
    pages = [
        "/admin/",
        "/admin/taskqueue/",
        *(reverse("admin:taskqueue_task_change", args=[task.pk]) for task in tasks),
    ]
    with InProcessWorker():
        for model in ours:
            place = f"admin:taskqueue_{model._meta.model_name}"
            pages.append(reverse(f"{place}_changelist"))
            if not model._meta.proxy and (row := model._default_manager.first()):
                pages.append(reverse(f"{place}_change", args=[row.pk]))
        shown = {page: admin_client.get(page).status_code for page in pages}

    assert {page: status for page, status in shown.items() if status != 200} == {}
    assert len(shown) >= 15


def rows() -> dict[str, Any]:
    """By parameter of a path, the key of a row that exists."""
    group, demo = Group.objects.create(name="smoke"), Pipeline.objects.get(name="demo/task")
    user = User.objects.create_user("smoke")
    hour = {"declared_count": 1, "declared_per": timedelta(hours=1)}
    RateLimit.objects.create(name="smoke", **hour)
    ConcurrencyLimit.objects.get_or_create(pipeline=demo)
    Schedule.objects.create(pipeline=demo, expression="0 3 * * *", timezone="UTC", misfire="once", next_at=Now())
    filtered = {"verb": "cancel", "selection": {}, "estimate": 0, "status": "planned"}
    return {
        "event_id": send.send("demo/approved", {}).pk,
        "subscription_id": Subscription.objects.create(address="https://example.com/hook").pk,
        "operation_id": BulkOperation.objects.create(**filtered, until=uuid7(), position=uuid7()).pk,
        "worker_id": Worker.objects.create(host="smoke", pid=1).pk,
        "token_id": tokens.issue(user, name="smoke")[0].pk,
        "rule_id": AlertRule.objects.create(name="smoke rule", condition="connections", threshold=99).pk,
        "permission_id": PipelinePermission.objects.create(pipeline=demo, group=group).pk,
    }


def test_every_endpoint_answers_as_its_contract_says(admin_client, tasks):
    values = {**rows(), "task_id": tasks[0].pk, "name": "demo/task", "rate": "smoke"}
    answers = {}
    paths = current_schema()["paths"].items()
    calls = [(path, method, operation) for path, operations in paths for method, operation in operations.items()]
    for path, method, operation in sorted(
        calls, key=lambda call: call[1] == "delete"
    ):  # what is deleted is used before
        body = b"" if method == "get" else json.dumps(BODIES.get(operation["operationId"], {})).encode()
        response: Any = admin_client.generic(method.upper(), path.format(**values), body, "application/json")
        if str(response.status_code) not in operation["responses"] or response.status_code == 404:
            answers[method, path] = response.status_code, response.content[:300]

    assert answers == {}
