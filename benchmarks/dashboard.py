"""The duration of dashboard pages with a long history, from the request to the last byte of HTML, in process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.test import Client, override_settings
from django.urls import reverse

from demo.seeding import seed
from taskqueue.models import Task

SIZE = 1_000_000
STEPS = 5
ROUNDS = 7

LIST = "/admin/taskqueue/task/"
PAGES: dict[str, Callable[[], str]] = {
    "list": lambda: LIST,
    "list, page 150": lambda: f"{LIST}?p=150",
    "failed": lambda: f"{LIST}?status=failed",
    "failed or cancelled": lambda: f"{LIST}?status=failed,cancelled",
    "failed of a pipeline": lambda: f"{LIST}?status=failed&pipeline=seed/crm-sync",
    "search by id": lambda: f"{LIST}?q={str(failed_task().pk)[:20]}",
    "search by key": lambda: f"{LIST}?q=order:777",
    "search by error:": lambda: f"{LIST}?q=error:Timeout",
    "search by payload": lambda: f"{LIST}?q=payload.order.id:{SIZE // 2}",
    "by label": lambda: f"{LIST}?label=tenant=acme",
    "has been retried": lambda: f"{LIST}?retried=yes",
    "a task": lambda: reverse("admin:taskqueue_task_change", args=[failed_task().pk]),
    "overview": lambda: reverse("admin:index"),
    "pipelines": lambda: reverse("admin:taskqueue_pipeline_changelist"),
    "a pipeline": lambda: reverse("admin:taskqueue_pipeline_change", args=[quote("seed/crm-sync")]),
    "preview of a retry": lambda: f"{reverse('admin:taskqueue_bulkoperation_new', args=['retry'])}?status=failed",
}


def page_milliseconds() -> tuple[float, ...]:
    """The slowest and the median of all pages' medians; prints the median of each page."""
    started_at = time.perf_counter()
    for _count in seed(tasks=SIZE, steps=STEPS):
        pass
    print(f"\nSeeded {SIZE:,} tasks and their steps in {time.perf_counter() - started_at:.0f} s.\n")
    plain = {**settings.STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
    with override_settings(ALLOWED_HOSTS=["testserver"], STORAGES=plain):
        medians = {name: milliseconds(client(), page()) for name, page in PAGES.items()}
    for name, median in medians.items():
        print(f"    {name:<24}{median:8.0f} ms")
    print()
    return max(medians.values()), statistics.median(medians.values())


def milliseconds(browser: Client, address: str) -> float:
    """The median of some requests, after one that fills the caches."""
    durations = []
    for _ in range(ROUNDS + 1):
        started_at = time.perf_counter()
        response: Any = browser.get(address)
        durations.append((time.perf_counter() - started_at) * 1000)
        assert response.status_code == 200, (address, response.status_code)
    return statistics.median(durations[1:])


def client() -> Client:
    user, _count = User.objects.get_or_create(username="benchmark", defaults={"is_staff": True, "is_superuser": True})
    ContentType.objects.get_for_model(Task)
    browser = Client()
    browser.force_login(user)
    return browser


def failed_task() -> Task:
    task = Task.objects.filter(status="failed").order_by("-pk").first()
    assert task is not None
    return task
