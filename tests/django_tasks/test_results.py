"""What Django documents of enqueueing, results, errors and the task's context, with the real database and worker."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.utils import timezone

from taskqueue.django_tasks import TaskCancelled, WorkerLost
from taskqueue.engine.tasks import control
from taskqueue.models import Task as Row
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.django_tasks import tasks
from tests.support.django_tasks.framework import (
    TaskResultDoesNotExist,
    TaskResultMismatch,
    TaskResultStatus,
    default_task_backend,
)
from tests.support.leases import take

pytestmark = [pytest.mark.smoke, pytest.mark.django_db(transaction=True)]

READY, RUNNING = TaskResultStatus.READY, TaskResultStatus.RUNNING
FAILED, SUCCESSFUL = TaskResultStatus.FAILED, TaskResultStatus.SUCCESSFUL
LATER = datetime(2030, 1, 31, 8, tzinfo=UTC)


def worked(result):
    """Execute what is due, and read the result again."""
    work()
    result.refresh()
    return result


def test_an_enqueued_task_is_ready():
    result = tasks.add.enqueue(1, right=2)

    assert result.status == READY
    assert isinstance(result.id, str)
    assert len(result.id) < 64
    assert (result.task, result.backend) == (tasks.add, "default")
    assert (result.args, result.kwargs) == ([1], {"right": 2})
    assert abs(result.enqueued_at - timezone.now()) < timedelta(minutes=5)
    assert (result.started_at, result.last_attempted_at, result.finished_at) == (None, None, None)
    assert (result.errors, result.worker_ids, result.attempts, result.is_finished) == ([], [], 0, False)
    with pytest.raises(ValueError, match="Task has not finished yet"):
        _ = result.return_value


@pytest.mark.parametrize("name", ["add", "add_async"])
def test_a_worker_runs_it(name):
    result = worked(getattr(tasks, name).enqueue(1, right=2))

    assert tasks.calls == [(1, 2)]
    assert result.status == SUCCESSFUL
    assert result.is_finished
    assert result.return_value == 3
    assert result.enqueued_at <= result.started_at <= result.last_attempted_at <= result.finished_at
    assert (result.errors, result.attempts) == ([], 1)
    assert result.worker_ids == [str(Row.objects.get(pk=result.id).worker_id)]


def test_an_async_task_runs_on_the_event_loop_of_the_worker(event_loop_of_worker):
    result = tasks.add_async.enqueue(1)
    with_context = tasks.with_context_async.enqueue()

    assert worked(result).return_value == 2
    assert worked(with_context).return_value == [1, with_context.id]


def test_a_task_can_be_enqueued_and_read_from_async_code():
    async def enqueue():
        result = await tasks.add.aenqueue(1, right=2)
        assert await tasks.add.aget_result(result.id) == result
        assert await default_task_backend.aget_result(result.id) == result
        await result.arefresh()
        return result

    assert worked(async_to_sync(enqueue)()).return_value == 3


def test_a_task_without_return_value_returns_none():
    result = worked(tasks.bare.enqueue())

    assert (result.status, result.return_value) == (SUCCESSFUL, None)


def test_a_result_can_be_read_by_its_id():
    result = tasks.mail.using(priority=-7, queue_name="default", run_after=LATER).enqueue("hello")

    assert tasks.mail.get_result(result.id) == result
    assert default_task_backend.get_result(result.id) == result
    assert default_task_backend.get_result(result.id).task == result.task
    assert (result.task.priority, result.task.queue_name, result.task.run_after) == (-7, "default", LATER)


def test_a_result_does_not_change_until_it_is_refreshed():
    result = tasks.add.enqueue(1)
    work()

    assert result.status == READY
    result.refresh()
    assert result.status == SUCCESSFUL


@pytest.mark.parametrize("missing", ["123", "", "01890a5d-ac96-774b-bcce-b302099a8057", 123])
def test_a_missing_result_is_refused(missing):
    with pytest.raises(TaskResultDoesNotExist):
        default_task_backend.get_result(missing)


def test_the_result_of_another_task_is_refused():
    result = tasks.add.enqueue(1)

    with pytest.raises(TaskResultMismatch, match="Task does not match"):
        tasks.mail.get_result(result.id)


@pytest.mark.parametrize("value", [LATER, object(), {1, 2}])
def test_an_argument_that_is_no_json_is_refused(value):
    with pytest.raises(TypeError, match="Unsupported type"):
        tasks.echo.enqueue(value)

    assert not Row.objects.exists()


def test_arguments_and_return_values_make_a_round_trip_through_json():
    result = tasks.echo.enqueue({"a": (1, 2.5, None), "b": b"bytes"})

    assert result.args == [{"a": [1, 2.5, None], "b": "bytes"}]
    assert worked(result).return_value == {"a": [1, 2.5, None], "b": "bytes"}


def test_arguments_that_the_function_does_not_take_fail_the_task():
    result = tasks.add.enqueue(1, wrong=2)

    work()
    control.cancel(result.id)
    result.refresh()
    assert result.errors[0].exception_class is TypeError


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("value", ValueError),
        ("own", tasks.OutOfStock),
        ("exit", SystemExit),
    ],
)
def test_an_exception_fails_the_task(kind, expected):
    result = worked(tasks.fail.enqueue(kind))

    assert (result.status, result.is_finished, result.attempts) == (FAILED, True, 1)
    assert result.started_at <= result.last_attempted_at <= result.finished_at
    [error] = result.errors
    assert error.exception_class is expected
    assert error.traceback.startswith("Traceback (most recent call last):")
    assert error.traceback.endswith(f"{expected.__name__}: no {kind}\n")
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value


def test_a_nested_exception_has_its_whole_path():
    [error] = worked(tasks.fail.enqueue("nested")).errors

    assert error.exception_class_path == "tests.support.django_tasks.tasks.OutOfStock.Reserved"


def test_an_exception_fails_an_async_task(event_loop_of_worker):
    result = worked(tasks.fail_async.enqueue())

    assert result.status == FAILED
    assert result.errors[0].exception_class is tasks.OutOfStock


def test_a_return_value_that_is_no_json_fails_the_task_at_once():
    result = worked(tasks.not_json.enqueue())

    assert (result.status, result.attempts, tasks.calls) == (FAILED, 1, ["not json"])
    assert "Unsupported type: <class 'datetime.timedelta'>" in result.errors[0].traceback


def test_a_task_is_running_while_its_function_runs():
    result = tasks.with_context.enqueue(7)

    assert worked(result).return_value == [1, result.id, "RUNNING", [7], "with_context", 7]


def test_the_context_counts_the_attempts():
    result = tasks.fail_twice.enqueue()

    work()

    assert worked(result).return_value == 3
    assert tasks.calls == [1, 2, 3]
    assert (result.attempts, len(set(result.worker_ids))) == (3, 1)
    assert [error.exception_class for error in result.errors] == [tasks.OutOfStock] * 2


def test_a_task_that_waits_for_its_next_attempt_is_ready():
    result = worked(tasks.add.enqueue("text"))

    assert (result.status, result.attempts, result.is_finished) == (READY, 1, False)
    assert result.errors[0].exception_class is TypeError
    assert result.last_attempted_at >= result.started_at


def test_a_cancelled_task_has_failed():
    result = tasks.add.enqueue(1)
    control.cancel(result.id, reason="wrong order")

    result.refresh()

    assert (result.status, result.attempts) == (FAILED, 0)
    assert result.errors[0].exception_class is TaskCancelled
    assert result.errors[0].traceback == "wrong order"


def test_a_task_of_a_lost_worker_runs_again():
    result = tasks.add.enqueue(1)
    lost = InProcessWorker()
    take(lost.worker)
    result.refresh()
    assert (result.status, result.worker_ids) == (RUNNING, [str(lost.worker)])

    lost.die()

    assert worked(result).return_value == 2
    assert (result.attempts, result.worker_ids[0]) == (2, str(lost.worker))
    assert result.errors[0].exception_class is WorkerLost


def test_a_task_runs_after_its_time():
    soon = timezone.now() + timedelta(hours=1)
    result = tasks.add.using(run_after=soon).enqueue(1)

    assert worked(result).status == READY
    advance(hours=2)
    assert worked(result).status == SUCCESSFUL
    assert tasks.add.get_result(result.id).task.run_after == soon


def test_a_task_of_higher_priority_comes_first():
    for priority in (-100, 0, 100, 1):
        tasks.add.using(priority=priority).enqueue(priority)

    work()

    assert [left for left, _right in tasks.calls] == [100, 1, 0, -100]


def test_a_rollback_removes_the_task():
    with transaction.atomic():
        tasks.add.enqueue(1)
        transaction.set_rollback(True)

    assert not Row.objects.exists()


def test_on_commit_works_as_documented():
    with transaction.atomic():
        transaction.on_commit(lambda: tasks.add.enqueue(1))
        assert not Row.objects.exists()

    assert Row.objects.count() == 1


def test_a_task_can_enqueue_another():
    result = worked(tasks.enqueue_another.enqueue())

    assert default_task_backend.get_result(result.return_value).return_value == 23
