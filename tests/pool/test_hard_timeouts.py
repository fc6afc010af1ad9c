"""A step that ignores its timeout ends with its process, and its stack is recorded."""

from __future__ import annotations

import time

import pytest

from taskqueue.engine.enqueue import enqueue
from taskqueue.engine.tasks import control
from taskqueue.models import Attempt, Step, Task, Worker
from tests.support.waiting import eventually

pytestmark = pytest.mark.process


def executes(task, step):
    return Worker.objects.filter(ended_at=None, task_id=task.pk, step=step).exists()


def test_a_step_that_swallows_its_timeout_is_ended_and_retried(start):
    command = start(processes=1, hard_timeout_grace=0.5)
    pid = command.workers()[0]
    task = enqueue.enqueue("tests/ignore-timeout", {"how": "in Python"})

    eventually(lambda: Task.objects.get(pk=task.pk).status == "retrying", details=command.output)
    eventually(lambda: command.workers() not in ([], [pid]), details=command.output)

    attempt = Attempt.objects.get(task=task.pk)
    assert (attempt.step_key, attempt.outcome, attempt.error_type) == ("ignore-timeout", "timed_out", "StepTimedOut")
    assert attempt.error_message.endswith("It ignored the timeout, and its worker process was ended.")
    assert "in ignore_timeout\n" in attempt.traceback
    assert "taskqueue/engine" not in attempt.traceback
    assert Step.objects.get(task=task.pk).failures == 1


@pytest.mark.slow
def test_a_c_call_that_holds_the_gil_is_ended(start):
    command = start(processes=1, hard_timeout_grace=0.5)
    task = enqueue.enqueue("tests/ignore-timeout", {"how": "in C"})

    attempts = Attempt.objects.filter(task=task.pk)
    eventually(attempts.exists, details=command.output)

    attempt = attempts.get()
    assert (attempt.outcome, attempt.error_type) == ("lost", "WorkerLost")
    assert attempt.error_message.endswith("it was ended in a step that ignored its timeout.")
    assert "in ignore_timeout\n" in attempt.traceback
    assert Task.objects.get(pk=task.pk).status in ("queued", "running")


def test_a_step_that_blocks_the_event_loop_is_ended(start):
    command = start(processes=1, hard_timeout_grace=0.5)
    pid = command.workers()[0]
    task = enqueue.enqueue("tests/block-the-loop", {})

    eventually(lambda: Task.objects.get(pk=task.pk).status == "retrying", details=command.output)
    eventually(lambda: command.workers() not in ([], [pid]), details=command.output)

    attempt = Attempt.objects.get(task=task.pk)
    assert (attempt.step_key, attempt.outcome) == ("block-the-loop", "timed_out")
    assert "in block_the_loop\n" in attempt.traceback


def test_a_step_of_a_cancelled_task_is_ended_after_the_grace(start):
    command = start(processes=1)
    pid = command.workers()[0]
    task = enqueue.enqueue("tests/plod", {"seconds": 60})
    eventually(lambda: executes(task, "plod"), details=command.output)

    cancelled = time.monotonic()
    control.cancel(task.pk, reason="Enough.")
    eventually(lambda: command.workers() not in ([], [pid]), details=command.output)

    assert time.monotonic() - cancelled > 0.5
    attempt = Attempt.objects.get(task=task.pk)
    assert (attempt.step_key, attempt.outcome) == ("plod", "stopped")
    assert "in plod\n" in attempt.traceback
    assert Task.objects.get(pk=task.pk).cancel_reason == "Enough."


@pytest.mark.slow
def test_a_parallel_step_of_a_cancelled_task_is_ended(start):
    command = start(processes=1)
    pid = command.workers()[0]
    task = enqueue.enqueue("tests/plod-in-parallel", {"seconds": 60})
    eventually(lambda: Worker.objects.filter(step="plod").exists(), details=command.output)

    control.cancel(task.pk)
    eventually(lambda: command.workers() not in ([], [pid]), details=command.output)

    assert not Task.objects.filter(parent=task.pk).exists()
    assert "does not stop: worker" in command.output()


@pytest.mark.slow
def test_the_cancel_grace_affects_only_cancelled_tasks(start):
    command = start(processes=1)
    pid = command.workers()[0]
    task = enqueue.enqueue("tests/plod", {"seconds": 1.5})

    eventually(lambda: Task.objects.get(pk=task.pk).status == "succeeded", details=command.output)

    assert command.workers() == [pid]
