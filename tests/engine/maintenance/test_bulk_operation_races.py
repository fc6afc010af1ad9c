"""Bulk operations: each batch runs exactly once, and an abort takes effect between two batches."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction

from taskqueue.engine.access.actor import Actor
from taskqueue.engine.maintenance import bulk_operations, dispatch, sweeps
from taskqueue.engine.queries.filters import TaskFilter
from taskqueue.engine.tasks import control
from taskqueue.errors import BulkOperationEnded, NotRetryable, UnfilteredOperation
from taskqueue.models import BulkOperation, Task
from taskqueue.states import BulkOperationVerb
from taskqueue.testing import work
from tests.support.database.races import OpenTransaction
from tests.support.pipelines.basic import declined_pipeline, one_step

RETRY, CANCEL, RERUN = BulkOperationVerb.RETRY, BulkOperationVerb.CANCEL, BulkOperationVerb.RERUN


@pytest.fixture(autouse=True)
def no_time_limits(monkeypatch):
    """On a busy machine a batch would end after any number of tasks, and a sweep after any number of batches."""
    monkeypatch.setattr(bulk_operations, "BATCH_SECONDS", 3600.0)
    monkeypatch.setattr(bulk_operations, "SWEEP_SECONDS", 3600.0)


@pytest.fixture
def small_batches(no_time_limits, monkeypatch):
    monkeypatch.setattr(bulk_operations, "BATCH_SIZE", 3)
    monkeypatch.setattr(bulk_operations, "SWEEP_SECONDS", 0.0)


def plan(selection: TaskFilter, verb: BulkOperationVerb, *, reason: str = "the bank is back") -> BulkOperation:
    user, _made = User.objects.get_or_create(username="olga", is_superuser=True)
    return bulk_operations.plan(selection, verb=verb, query="?", reason=reason, actor=Actor(user.pk, "olga"))


def seven_failed() -> list[Task]:
    tasks = [declined_pipeline.enqueue() for _ in range(7)]
    work()
    return tasks


def reload(operation: BulkOperation) -> BulkOperation:
    return BulkOperation.objects.get(pk=operation.pk)


def counts(operation: BulkOperation) -> tuple[str, int, int, int, int]:
    now = reload(operation)
    return now.status, now.processed, now.changed, now.skipped, now.failed


def statuses() -> list[str]:
    return list(Task.objects.order_by("pk").values_list("status", flat=True))


def in_thread(function: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Start a thread with its own connection; its result or error is appended to the list."""
    answers: list[Any] = []

    def run() -> None:
        try:
            answers.append(function())
        except Exception as error:  # noqa: BLE001 - handed to the test
            answers.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread, answers


@pytest.mark.django_db
@pytest.mark.usefixtures("small_batches")
def test_operations_run_in_batches_oldest_first():
    seven_failed()
    operation = plan(TaskFilter(statuses=("failed",)), RETRY)

    assert (operation.status, operation.estimate) == ("planned", 7)
    assert bulk_operations.run_batches() == 3
    assert counts(operation) == ("running", 3, 3, 0, 0)
    assert statuses() == ["queued"] * 3 + ["failed"] * 4
    assert bulk_operations.run_batches() == 3
    assert bulk_operations.run_batches() == 1
    assert counts(operation) == ("done", 7, 7, 0, 0)
    assert bulk_operations.run_batches() == 0
    assert reload(operation).finished_at is not None


@pytest.mark.django_db
def test_a_slow_batch_ends_early_and_keeps_its_results(monkeypatch):
    monkeypatch.setattr(bulk_operations, "BATCH_SECONDS", 0.0)
    seven_failed()
    operation = plan(TaskFilter(statuses=("failed",)), RETRY)

    assert bulk_operations.run_batch() == 1
    assert counts(operation) == ("running", 1, 1, 0, 0)
    assert bulk_operations.run_batch() == 1
    assert statuses() == ["queued"] * 2 + ["failed"] * 5


@pytest.mark.django_db
def test_the_dispatcher_finds_and_runs_an_operation():
    seven_failed()
    operation = plan(TaskFilter(statuses=("failed",)), RETRY)

    assert dispatch.find_due_work(1).sweeps_due
    assert dispatch.run_due(1).queued

    assert counts(operation) == ("done", 7, 7, 0, 0)
    assert not dispatch.find_due_work(1).sweeps_due


@pytest.mark.django_db
@pytest.mark.usefixtures("small_batches")
def test_tasks_created_after_the_start_are_not_changed():
    for number in range(4):
        one_step.enqueue(number)
    operation = plan(TaskFilter(pipeline="engine/one-step"), CANCEL)
    one_step.enqueue(5)

    while bulk_operations.run_batch() is not None:
        pass

    assert statuses() == ["cancelled"] * 4 + ["queued"]
    assert counts(operation) == ("done", 4, 4, 0, 0)


@pytest.fixture
def fast_clock(monkeypatch):
    """Create ids by a clock that is an hour ahead of the database's."""
    ahead = time.time_ns() + 3600 * 1_000_000_000
    monkeypatch.setattr(time, "time_ns", itertools.count(ahead, 1_000_000).__next__)
    return monkeypatch


@pytest.mark.django_db
@pytest.mark.parametrize("verb", [RERUN, CANCEL, RETRY])
@pytest.mark.parametrize("selection", [{}, {"labels": (("tenant", "a"),)}], ids=["by index", "searched"])
def test_the_database_clock_decides_which_tasks_are_newer(fast_clock, verb, selection):
    make = declined_pipeline.using(labels={"tenant": "a"}).enqueue
    before = [make(), make()]
    if verb == RETRY:
        work()
    operation = plan(TaskFilter(pipeline="engine/declined", **selection), verb)
    fast_clock.undo()  # it goes on on another machine
    later = make()
    if verb == RETRY:
        control.cancel(later.pk)

    while bulk_operations.run_batch() is not None:
        pass

    assert counts(operation) == ("done", len(before), len(before), 0, 0)
    assert Task.objects.filter(rerun_of__isnull=False).count() == (len(before) if verb == RERUN else 0)
    assert Task.objects.get(pk=later.pk).status == ("cancelled" if verb == RETRY else "queued")


@pytest.mark.django_db
def test_a_cancelled_task_has_the_reason():
    task = one_step.enqueue(1)
    plan(TaskFilter(pipeline="engine/one-step"), CANCEL, reason="a wrong import")

    bulk_operations.run_batches()

    assert Task.objects.get(pk=task.pk).cancel_reason == "a wrong import"


@pytest.mark.django_db
def test_reruns_are_not_rerun_again():
    one_step.enqueue(1)
    work()
    operation = plan(TaskFilter(pipeline="engine/one-step"), RERUN)

    bulk_operations.run_batches()

    assert statuses() == ["succeeded", "queued"]
    assert counts(operation) == ("done", 1, 1, 0, 0)


@pytest.mark.django_db
@pytest.mark.usefixtures("small_batches")
def test_tasks_that_changed_meanwhile_are_skipped_with_the_reason(monkeypatch):
    tasks = seven_failed()
    operation = plan(TaskFilter(statuses=("failed",)), RETRY)
    listed = bulk_operations.next_tasks(operation)
    control.retry(tasks[0].pk)
    monkeypatch.setattr(bulk_operations, "next_tasks", lambda _operation: listed)

    bulk_operations.run_batches()

    assert counts(operation) == ("running", 3, 2, 1, 0)
    assert reload(operation).refusals == {NotRetryable.title(): 1}


@pytest.mark.django_db
def test_failures_are_counted_with_their_reasons():
    one_step.enqueue(1)
    work()
    Task.objects.update(payload={"number": "no number"})
    operation = plan(TaskFilter(pipeline="engine/one-step"), RERUN)

    bulk_operations.run_batches()

    assert counts(operation) == ("done", 1, 0, 0, 1)
    assert sum(reload(operation).refusals.values()) == 1


@pytest.mark.django_db
def test_a_database_error_on_one_task_does_not_stop_the_others(monkeypatch):
    tasks, retry = seven_failed(), control.retry
    operation = plan(TaskFilter(statuses=("failed",)), RETRY)

    def refused(task_id, actor):
        if task_id == tasks[2].pk:
            raise IntegrityError("a constraint")
        return retry(task_id, actor=actor)

    monkeypatch.setattr(control, "retry", refused)
    bulk_operations.run_batches()

    assert counts(operation) == ("done", 7, 6, 0, 1)
    assert reload(operation).refusals == {"The database refused it: IntegrityError.": 1}


@pytest.mark.django_db(transaction=True)
def test_the_sweep_does_not_wait_for_a_locked_task():
    task, other = one_step.enqueue(1), one_step.enqueue(2)
    operation = plan(TaskFilter(pipeline="engine/one-step"), CANCEL)
    lock = OpenTransaction(lambda: Task.objects.select_for_update().get(pk=task.pk))

    sweeps.run_sweeps()

    lock.end()
    assert counts(operation) == ("done", 2, 1, 0, 1)
    assert reload(operation).refusals == {bulk_operations.LOCKED: 1}
    assert Task.objects.get(pk=other.pk).status == "cancelled"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("selection", "verb", "sentence"),
    [
        (TaskFilter(), RETRY, "Without a filter this would be done to all tasks."),
        (TaskFilter(statuses=("succeeded",)), RETRY, "None of these tasks can be done"),
        (TaskFilter(statuses=("failed",)), CANCEL, "None of these tasks can be done"),
    ],
)
def test_an_invalid_filter_is_refused(selection, verb, sentence):
    with pytest.raises(UnfilteredOperation, match=sentence):
        plan(selection, verb)


@pytest.mark.django_db
@pytest.mark.usefixtures("small_batches")
def test_a_crash_rolls_back_the_whole_batch(monkeypatch):
    seven_failed()
    operation = plan(TaskFilter(statuses=("failed",)), RETRY)
    bulk_operations.run_batch()
    retry, calls = control.retry, []

    def dying(task_id, actor):
        calls.append(task_id)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return retry(task_id, actor=actor)

    monkeypatch.setattr(control, "retry", dying)
    with pytest.raises(KeyboardInterrupt), transaction.atomic():
        bulk_operations.run_batch()
    assert counts(operation) == ("running", 3, 3, 0, 0)
    assert statuses() == ["queued"] * 3 + ["failed"] * 4

    monkeypatch.setattr(control, "retry", retry)
    while bulk_operations.run_batch() is not None:
        pass
    assert counts(operation) == ("done", 7, 7, 0, 0)


def held_up(monkeypatch):
    """Two events: a retry has begun, and it may go on."""
    retry, in_it, go_on = control.retry, threading.Event(), threading.Event()

    def slow(task_id, actor):
        in_it.set()
        assert go_on.wait(90)
        return retry(task_id, actor=actor)

    monkeypatch.setattr(control, "retry", slow)
    return in_it, go_on


def batch_held_up(monkeypatch):
    """An operation in the middle of its first batch, the event that lets it go on, its thread and its results."""
    seven_failed()
    operation = plan(TaskFilter(statuses=("failed",)), RETRY)
    in_it, go_on = held_up(monkeypatch)
    thread, answers = in_thread(bulk_operations.run_batch)
    assert in_it.wait(90)
    return operation, go_on, thread, answers


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("small_batches")
def test_two_processes_never_run_one_batch_twice(monkeypatch):
    operation, go_on, thread, answers = batch_held_up(monkeypatch)

    assert bulk_operations.run_batch() is None  # another process runs it

    go_on.set()
    thread.join(90)
    assert answers == [3]
    assert counts(operation) == ("running", 3, 3, 0, 0)


@pytest.mark.django_db(transaction=True)
def test_many_processes_change_each_task_once(monkeypatch):
    monkeypatch.setattr(bulk_operations, "BATCH_SIZE", 2)
    for number in range(30):
        one_step.enqueue(number)
    work()
    operation = plan(TaskFilter(pipeline="engine/one-step"), RERUN)

    def until_done() -> int:
        done = 0
        while reload(operation).finished_at is None:
            done += bulk_operations.run_batches()
        return done

    threads = [in_thread(until_done) for _ in range(4)]
    for thread, _answers in threads:
        thread.join(90)

    assert sum(answers[0] for _thread, answers in threads) == 30
    assert counts(operation) == ("done", 30, 30, 0, 0)
    assert Task.objects.filter(rerun_of__isnull=False).values("rerun_of").distinct().count() == 30


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("small_batches")
def test_an_abort_waits_for_the_batch_and_stops_the_next(monkeypatch):
    operation, go_on, batch, _answers = batch_held_up(monkeypatch)
    abort, aborted = in_thread(lambda: bulk_operations.abort(operation.pk, actor=Actor(None, "dana")).status)
    go_on.set()
    batch.join(90)
    abort.join(90)

    assert aborted == ["aborted"]
    assert bulk_operations.run_batch() is None
    assert counts(operation) == ("aborted", 3, 3, 0, 0)
    assert reload(operation).aborted_by == "dana"


@pytest.mark.django_db
def test_a_finished_operation_cannot_be_aborted():
    seven_failed()
    operation = plan(TaskFilter(statuses=("failed",)), RETRY)
    while bulk_operations.run_batch() is not None:
        pass

    with pytest.raises(BulkOperationEnded, match="The operation is done; there is nothing to abort"):
        bulk_operations.abort(operation.pk, actor=Actor(None, "olga"))


@pytest.mark.django_db
@pytest.mark.usefixtures("small_batches")
def test_a_search_scans_index_results_in_parts(monkeypatch):
    monkeypatch.setattr(bulk_operations, "SEARCHED_PER_BATCH", 2)
    for number in range(7):
        one_step.using(labels={"tenant": "odd" if number % 2 else "even"}).enqueue(number)
    operation = plan(TaskFilter(labels=(("tenant", "odd"),)), CANCEL)

    while bulk_operations.run_batch() is not None:
        pass

    assert statuses() == ["queued", "cancelled"] * 3 + ["queued"]
    assert counts(operation) == ("done", 3, 3, 0, 0)


@pytest.mark.django_db
def test_a_search_excludes_tasks_below_its_floor(monkeypatch):
    monkeypatch.setattr("taskqueue.engine.queries.filters.SCAN_LIMIT", 3)
    for number in range(5):
        one_step.using(labels={"tenant": "a"}).enqueue(number)
    operation = plan(TaskFilter(labels=(("tenant", "a"),), statuses=("queued",)), CANCEL)

    assert operation.estimate == 3
    bulk_operations.run_batches()

    assert statuses() == ["queued"] * 2 + ["cancelled"] * 3
