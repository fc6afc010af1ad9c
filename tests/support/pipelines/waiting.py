"""Tasks that wait for a reason, and the codes of their reasons."""

from __future__ import annotations

from datetime import timedelta

from django.db.models.functions import Now

from taskqueue import Limit, Rate, pipeline, step
from taskqueue.engine.queries.status import status_of
from taskqueue.engine.queries.why import why
from taskqueue.models import Step, Task
from tests.support.task_states import assert_read_as_by_the_orm


@step
def think(tenant: str) -> str:
    return tenant


@pipeline("why/limited", concurrency=[Limit(2), Limit(1, key="{tenant}")], step_concurrency=[Limit(2)])
def limited(tenant: str) -> str:
    return think(tenant)


@pipeline("why/throttled", throttle=Rate(1, per=timedelta(minutes=10), name="why-starts"))
def throttled() -> None:
    return None


CROWD = """
INSERT INTO taskqueue_task (id, pipeline_id, status, key, labels, priority, payload, due_at, sort_at, lease, failures,
    progress_note)
SELECT gen_random_uuid(), 'engine/one-step', 'queued', '', '{}', 60, '{}', now(), now() - interval '1 minute', 0, 0, ''
FROM generate_series(1, %s)
"""


def reasons(task):
    """Its reasons; also checks that the status has the first one as its `waiting_for`, and that the ORM agrees."""
    assert_read_as_by_the_orm(task.pk)
    explanation = why(task.pk)
    snapshot = status_of(task.pk)
    assert snapshot.waiting_for == explanation.reasons[0].waiting_for
    assert (explanation.id, explanation.pipeline, explanation.status) == (task.pk, task.pipeline_id, snapshot.status)
    return explanation.reasons


def only(task):
    (reason,) = reasons(task)
    return reason


def codes(task):
    return [reason.code for reason in reasons(task)]


def waiting(task, key, kind, **more):
    """Let a task wait for a step of this kind."""
    until = more.pop("until", Now() + timedelta(hours=1))
    Task.objects.filter(pk=task.pk).update(status="waiting", started_at=Now(), due_at=until, sort_at=until, lease=1)
    return Step.objects.create(
        task=task, key=key, name=key, kind=kind, status="waiting", input_hash="", until=until,
        started_at=Now(), finished_at=Now(), **more,
    )  # fmt: skip
