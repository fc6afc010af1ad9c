"""A step that heeds nothing ends with its process, and what it was at is kept."""

from __future__ import annotations

import time

import pytest

from taskqueue.engine.enqueue import enqueue
from taskqueue.engine.tasks import control
from taskqueue.models import Attempt, Step, Task, Worker
from tests.support.waiting import eventually

pytestmark = pytest.mark.process


def executes(task, step):
    """Whether a worker has said that it is in this step."""
    return Worker.objects.filter(ended_at=None, task_id=task.pk, step=step).exists()


def test_a_step_that_swallows_its_timeout_is_ended_and_tried_again_by_its_policy(start):
    command = start(processes=1, hard_timeout_grace=0.5)
    pid = command.workers()[0]
    task = enqueue.enqueue("tests/deaf", {"how": "in Python"})

    eventually(lambda: Task.objects.get(pk=task.pk).status == "retrying", otherwise=command.said)
    eventually(lambda: command.workers() not in ([], [pid]), otherwise=command.said)

    attempt = Attempt.objects.get(task=task.pk)
    assert (attempt.step_key, attempt.outcome, attempt.error_type) == ("deaf", "timed_out", "StepTimedOut")
    assert attempt.error_message.endswith("It did not heed that, and its worker process was ended.")
    assert "in deaf\n" in attempt.traceback
    assert "taskqueue/engine" not in attempt.traceback
    assert Step.objects.get(task=task.pk).failures == 1


@pytest.mark.slow
def test_a_call_into_c_that_lets_nothing_else_run_is_ended_too(start):
    command = start(processes=1, hard_timeout_grace=0.5)
    task = enqueue.enqueue("tests/deaf", {"how": "in C"})

    attempts = Attempt.objects.filter(task=task.pk)
    eventually(attempts.exists, otherwise=command.said)

    attempt = attempts.get()
    assert (attempt.outcome, attempt.error_type) == ("lost", "WorkerLost")
    assert attempt.error_message.endswith("it was ended in a step that did not heed its timeout.")
    assert "in deaf\n" in attempt.traceback
    assert Task.objects.get(pk=task.pk).status in ("queued", "running")


def test_a_step_that_holds_the_event_loop_is_ended_after_another_beside_it_was_done(start):
    command = start(processes=1, hard_timeout_grace=0.5)
    pid = command.workers()[0]
    task = enqueue.enqueue("tests/deaf-beside", {})

    eventually(lambda: Task.objects.get(pk=task.pk).status == "retrying", otherwise=command.said)
    eventually(lambda: command.workers() not in ([], [pid]), otherwise=command.said)

    attempt = Attempt.objects.get(task=task.pk)
    assert (attempt.step_key, attempt.outcome) == ("hold-the-loop", "timed_out")
    assert "in hold_the_loop\n" in attempt.traceback


def test_a_step_of_a_cancelled_task_is_ended_after_the_grace(start):
    command = start(processes=1)
    pid = command.workers()[0]
    task = enqueue.enqueue("tests/plod", {"seconds": 60})
    eventually(lambda: executes(task, "plod"), otherwise=command.said)

    cancelled = time.monotonic()
    control.cancel(task.pk, reason="Enough.")
    eventually(lambda: command.workers() not in ([], [pid]), otherwise=command.said)

    assert time.monotonic() - cancelled > 0.5
    attempt = Attempt.objects.get(task=task.pk)
    assert (attempt.step_key, attempt.outcome) == ("plod", "stopped")
    assert "in plod\n" in attempt.traceback
    assert Task.objects.get(pk=task.pk).cancel_reason == "Enough."


def test_a_branch_of_a_cancelled_task_is_ended_too(start):
    command = start(processes=1)
    pid = command.workers()[0]
    task = enqueue.enqueue("tests/plod-beside", {"seconds": 60})
    eventually(lambda: Worker.objects.filter(step="plod").exists(), otherwise=command.said)

    control.cancel(task.pk)
    eventually(lambda: command.workers() not in ([], [pid]), otherwise=command.said)

    assert not Task.objects.filter(parent=task.pk).exists()
    assert "does not end: worker" in command.said()


def test_the_grace_is_for_cancelled_tasks_alone(start):
    command = start(processes=1)
    pid = command.workers()[0]
    task = enqueue.enqueue("tests/plod", {"seconds": 1.5})

    eventually(lambda: Task.objects.get(pk=task.pk).status == "succeeded", otherwise=command.said)

    assert command.workers() == [pid]
