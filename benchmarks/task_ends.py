"""Wait for the ends of tasks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from django.db.models import Max, Min, QuerySet

from benchmarks.processes import wait_for
from taskqueue.models import Task


def seconds_until_finished(tasks: QuerySet[Task]) -> float:
    """Seconds from the first start to the last end of the tasks, when all have succeeded."""
    wait_for(lambda: all_succeeded(tasks), seconds=300, every=0.2)
    times = tasks.aggregate(started=Min("started_at"), finished=Max("finished_at"))
    duration: timedelta = times["finished"] - times["started"]
    return duration.total_seconds()


def all_succeeded(tasks: QuerySet[Task]) -> bool:
    return not tasks.exclude(status="succeeded").exists()


def success_of(task: Task) -> Callable[[], bool]:
    return Task.objects.filter(pk=task.pk, status="succeeded").exists
