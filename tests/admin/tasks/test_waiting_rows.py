"""The list shows what a waiting task waits for."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from taskqueue.models import Step, Task
from taskqueue.states import StepKind
from tests.support.admin_pages import LIST, text_of


@pytest.mark.parametrize(
    ("kind", "blocked_on", "text"),
    [
        (StepKind.SLEEP, "", "Waiting wakes in 9m"),
        (StepKind.WAIT, "", "Waiting for an event times out in 9m"),
        (StepKind.CHILD, "", "Waiting for a child task times out in 9m"),
        (StepKind.PARALLEL, "", "Waiting for parallel steps runs in 9m"),
        (StepKind.STEP, "crm-api", "Waiting for rate crm-api runs in 9m"),
        (StepKind.STEP, "step limit", "Waiting for a free slot runs in 9m"),
    ],
)
def test_a_waiting_task_shows_what_it_waits_for(viewer, queued, kind, blocked_on, text):
    later = Now() + timedelta(seconds=570)
    Task.objects.filter(pk=queued.pk).update(status="waiting", blocked_on=blocked_on, due_at=later, sort_at=later)
    times = {"started_at": Now(), "finished_at": Now()}
    Step.objects.create(task=queued, key="approval", name="approval", kind=kind, status="waiting", **times)

    assert text in text_of(viewer.get(LIST))
