"""A task's state as the ORM reads it, to compare it with what the prepared statements read."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from django.db.models.functions import Now
from rest_framework.renderers import JSONRenderer

from taskqueue.api.tasks.serializers import TaskProgress
from taskqueue.engine.queries import task_state
from taskqueue.engine.queries.reasons import Code
from taskqueue.engine.queries.status import status_of
from taskqueue.engine.queries.task_state import TaskState
from taskqueue.engine.queries.tasks import with_counts
from taskqueue.engine.queries.why import why
from taskqueue.models import Step, Task, Wait


def assert_read_as_by_the_orm(task_id):
    """The answers to status and why are what they would be if the ORM read the task."""
    status, reasons = status_bytes(task_id), comparable_reasons(task_id)
    with reading_by_the_orm():
        assert status_bytes(task_id) == status
        assert comparable_reasons(task_id) == reasons


def status_bytes(task_id):
    return JSONRenderer().render(TaskProgress(status_of(task_id)).data)


def comparable_reasons(task_id):
    """The reasons, without the estimate of the start: it depends on the time of the query."""
    return [
        replace(reason, expected_at=None, sentence="") if reason.code == Code.QUEUED else reason
        for reason in why(task_id).reasons
    ]


@contextmanager
def reading_by_the_orm():
    with pytest.MonkeyPatch.context() as patch:
        for name, reading in {"read": read, "pending_steps": pending_steps, "event_waits": event_waits}.items():
            patch.setattr(task_state, name, reading)
        yield


def read(task_id):
    related = Task.objects.select_related("worker", "pipeline__concurrency_limit__rate")
    task: Any = with_counts(related).annotate(seen_at=Now()).get(pk=task_id, parallel_step="")
    pending = pending_steps(task_id, with_parallel=True)
    parallel = sum(is_waiting_parallel_step(step) for step in pending)
    return TaskState(task, task.seen_at, task.steps_done, task.steps_known, len(pending) - parallel, parallel)


def pending_steps(task_id, *, with_parallel):
    steps = Step.objects.filter(task=task_id, status__in=["waiting", "retrying"]).select_related("child").order_by("pk")
    return [step for step in steps if with_parallel or not is_waiting_parallel_step(step)]


def is_waiting_parallel_step(step):
    return step.kind == "parallel" and step.status == "waiting"


def event_waits(task_id):
    return list(Wait.objects.filter(task=task_id, outcome="").exclude(step_key="").order_by("step_key", "position"))
