"""Operations: no batch is done twice, none is lost, and an abort is heard between two of them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction

from taskqueue.engine.maintenance import bulk_operations, dispatch, sweeps
from taskqueue.engine.queries.filters import TaskFilter
from taskqueue.engine.tasks import control
from taskqueue.errors import BulkOperationEnded, NotRetryable, UnfilteredOperation
from taskqueue.models import BulkOperation, Task
from taskqueue.states import BulkOperationVerb
from taskqueue.testing import work
from tests.support.pipelines.basic import declined_pipeline, one_step

RETRY, CANCEL, RERUN = BulkOperationVerb.RETRY, BulkOperationVerb.CANCEL, BulkOperationVerb.RERUN


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(bulk_operations, "BATCH", 3)
    monkeypatch.setattr(bulk_operations, "BUDGET", 0.0)


def plan(selection: TaskFilter, verb: BulkOperationVerb, *, reason: str = "the bank is back") -> BulkOperation:
    user, _made = User.objects.get_or_create(username="olga", is_superuser=True)
    return bulk_operations.plan(selection, verb=verb, query="?", reason=reason, user=user.pk, by="olga")


def seven_failed() -> list[Task]:
    tasks = [declined_pipeline.enqueue() for _ in range(7)]
    work()
    return tasks


def reload(operation: BulkOperation) -> BulkOperation:
    return BulkOperation.objects.get(pk=operation.pk)


def figures(operation: BulkOperation) -> tuple[str, int, int, int, int]:
    now = reload(operation)
    return now.status, now.processed, now.changed, now.skipped, now.failed


def statuses() -> list[str]:
    return list(Task.objects.order_by("pk").values_list("status", flat=True))


def in_another_thread(deed: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Start it on a connection of its own; what it returned or raised is in the list."""
    answers: list[Any] = []

    def run() -> None:
        try:
            answers.append(deed())
        except Exception as error:  # noqa: BLE001 - handed to the test
            answers.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread, answers


@pytest.mark.django_db
@pytest.mark.usefixtures("small_batches")
def test_an_operation_is_worked_off_in_batches_oldest_first():
    seven_failed()
    operation = plan(TaskFilter(statuses=("failed",)), RETRY)

    assert (operation.status, operation.estimate) == ("planned", 7)
    assert bulk_operations.run_batches() == 3
    assert figures(operation) == ("running", 3, 3, 0, 0)
    assert statuses() == ["queued"] * 3 + ["failed"] * 4
    assert bulk_operations.run_batches() == 3
    assert bulk_operations.run_batches() == 1
    assert figures(operation) == ("done", 7, 7, 0, 0)
    assert bulk_operations.run_batches() == 0
    assert reload(operation).finished_at is not None


@pytest.mark.django_db
def test_a_batch_that_takes_long_ends_with_what_it_has_done(monkeypatch):
    monkeypatch.setattr(bulk_operations, "LONGEST", 0.0)
    seven_failed()
    operation = plan(TaskFilter(statuses=("failed",)), RETRY)

    assert bulk_operations.do_batch() == 1
    assert figures(operation) == ("running", 1, 1, 0, 0)
    assert bulk_operations.do_batch() == 1
    assert statuses() == ["queued"] * 2 + ["failed"] * 5


@pytest.mark.django_db
def test_every_look_of_a_doorbell_sees_an_operation_and_works_on_it():
    seven_failed()
    operation = plan(TaskFilter(statuses=("failed",)), RETRY)

    assert dispatch.look(1).chores
    assert dispatch.run_due(1).changed

    assert figures(operation) == ("done", 7, 7, 0, 0)
    assert not dispatch.look(1).chores


@pytest.mark.django_db
@pytest.mark.usefixtures("small_batches")
def test_tasks_made_after_its_start_are_left_alone():
    for number in range(4):
        one_step.enqueue(number)
    operation = plan(TaskFilter(pipeline="engine/one-step"), CANCEL)
    one_step.enqueue(5)

    while bulk_operations.do_batch() is not None:
        pass

    assert statuses() == ["cancelled"] * 4 + ["queued"]
    assert figures(operation) == ("done", 4, 4, 0, 0)


@pytest.fixture
def fast_clock(monkeypatch):
    """Ids are made by a machine whose clock is an hour ahead of the database's, until this is undone."""
    ahead = time.time_ns() + 3600 * 1_000_000_000
    monkeypatch.setattr(time, "time_ns", itertools.count(ahead, 1_000_000).__next__)
    return monkeypatch


@pytest.mark.django_db
@pytest.mark.parametrize("verb", [RERUN, CANCEL, RETRY])
@pytest.mark.parametrize("selection", [{}, {"labels": (("tenant", "a"),)}], ids=["by index", "searched"])
def test_the_databases_clock_tells_what_was_made_after_its_start(fast_clock, verb, selection):
    make = declined_pipeline.using(labels={"tenant": "a"}).enqueue
    before = [make(), make()]
    if verb == RETRY:
        work()
    operation = plan(TaskFilter(pipeline="engine/declined", **selection), verb)
    fast_clock.undo()  # it goes on on another machine
    later = make()
    if verb == RETRY:
        control.cancel(later.pk)

    while bulk_operations.do_batch() is not None:
        pass

    assert figures(operation) == ("done", len(before), len(before), 0, 0)
    assert Task.objects.filter(rerun_of__isnull=False).count() == (len(before) if verb == RERUN else 0)
    assert Task.objects.get(pk=later.pk).status == ("cancelled" if verb == RETRY else "queued")


@pytest.mark.django_db
def test_a_cancelled_task_tells_the_reason():
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
    assert figures(operation) == ("done", 1, 1, 0, 0)


@pytest.mark.django_db
@pytest.mark.usefixtures("small_batches")
def test_what_has_moved_on_is_skipped_and_what_cannot_be_is_told(monkeypatch):
    tasks = seven_failed()
    operation = plan(TaskFilter(statuses=("failed",)), RETRY)
    listed = bulk_operations.next_tasks(operation)
    control.retry(tasks[0].pk)
    monkeypatch.setattr(bulk_operations, "next_tasks", lambda _operation: listed)

    bulk_operations.run_batches()

    assert figures(operation) == ("running", 3, 2, 1, 0)
    assert reload(operation).refusals == {NotRetryable.title(): 1}


@pytest.mark.django_db
def test_what_cannot_be_done_is_counted_with_its_reason():
    one_step.enqueue(1)
    work()
    Task.objects.update(payload={"number": "no number"})
    operation = plan(TaskFilter(pipeline="engine/one-step"), RERUN)

    bulk_operations.run_batches()

    assert figures(operation) == ("done", 1, 0, 0, 1)
    assert sum(reload(operation).refusals.values()) == 1


@pytest.mark.django_db
def test_a_row_that_the_database_refuses_does_not_hold_up_the_others(monkeypatch):
    tasks, retry = seven_failed(), control.retry
    operation = plan(TaskFilter(statuses=("failed",)), RETRY)

    def refused(task_id):
        if task_id == tasks[2].pk:
            raise IntegrityError("a constraint")
        return retry(task_id)

    monkeypatch.setattr(control, "retry", refused)
    bulk_operations.run_batches()

    assert figures(operation) == ("done", 7, 6, 0, 1)
    assert reload(operation).refusals == {"The database refused it: IntegrityError.": 1}


@pytest.mark.django_db(transaction=True)
def test_a_task_that_somebody_holds_is_not_waited_for_by_the_sweep():
    task, other = one_step.enqueue(1), one_step.enqueue(2)
    operation = plan(TaskFilter(pipeline="engine/one-step"), CANCEL)
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Task.objects.select_for_update().get(pk=task.pk)
            held.set()
            assert let_go.wait(90)

    holder, _answers = in_another_thread(hold)
    assert held.wait(90)

    sweeps.run_sweeps()

    let_go.set()
    holder.join(90)
    assert figures(operation) == ("done", 2, 1, 0, 1)
    assert reload(operation).refusals == {bulk_operations.BUSY: 1}
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
def test_what_makes_no_sense_is_refused(selection, verb, sentence):
    with pytest.raises(UnfilteredOperation, match=sentence):
        plan(selection, verb)


@pytest.mark.django_db
@pytest.mark.usefixtures("small_batches")
def test_a_crash_in_a_batch_undoes_the_whole_of_it_and_nothing_is_repeated(monkeypatch):
    seven_failed()
    operation = plan(TaskFilter(statuses=("failed",)), RETRY)
    bulk_operations.do_batch()
    retry, calls = control.retry, []

    def dying(task_id):
        calls.append(task_id)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return retry(task_id)

    monkeypatch.setattr(control, "retry", dying)
    with pytest.raises(KeyboardInterrupt), transaction.atomic():
        bulk_operations.do_batch()
    assert figures(operation) == ("running", 3, 3, 0, 0)
    assert statuses() == ["queued"] * 3 + ["failed"] * 4

    monkeypatch.setattr(control, "retry", retry)
    while bulk_operations.do_batch() is not None:
        pass
    assert figures(operation) == ("done", 7, 7, 0, 0)


def held_up(monkeypatch):
    """Each retry says that somebody is in it, and goes on when it may: two events."""
    retry, in_it, go_on = control.retry, threading.Event(), threading.Event()

    def slow(task_id):
        in_it.set()
        assert go_on.wait(90)
        return retry(task_id)

    monkeypatch.setattr(control, "retry", slow)
    return in_it, go_on


def batch_held_up(monkeypatch):
    """An operation in the middle of its first batch: it, what lets it go on, its thread and the answers."""
    seven_failed()
    operation = plan(TaskFilter(statuses=("failed",)), RETRY)
    in_it, go_on = held_up(monkeypatch)
    thread, answers = in_another_thread(bulk_operations.do_batch)
    assert in_it.wait(90)
    return operation, go_on, thread, answers


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("small_batches")
def test_two_at_once_never_do_one_batch_twice(monkeypatch):
    operation, go_on, thread, answers = batch_held_up(monkeypatch)

    assert bulk_operations.do_batch() is None  # passed over: somebody is at it

    go_on.set()
    thread.join(90)
    assert answers == [3]
    assert figures(operation) == ("running", 3, 3, 0, 0)


@pytest.mark.django_db(transaction=True)
def test_many_at_once_do_each_task_once(monkeypatch):
    monkeypatch.setattr(bulk_operations, "BATCH", 2)
    for number in range(30):
        one_step.enqueue(number)
    work()
    operation = plan(TaskFilter(pipeline="engine/one-step"), RERUN)

    def until_done() -> int:
        done = 0
        while reload(operation).finished_at is None:
            done += bulk_operations.run_batches()
        return done

    threads = [in_another_thread(until_done) for _ in range(4)]
    for thread, _answers in threads:
        thread.join(90)

    assert sum(answers[0] for _thread, answers in threads) == 30
    assert figures(operation) == ("done", 30, 30, 0, 0)
    assert Task.objects.filter(rerun_of__isnull=False).values("rerun_of").distinct().count() == 30


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("small_batches")
def test_an_abort_waits_for_the_batch_and_no_other_follows(monkeypatch):
    operation, go_on, batch, _answers = batch_held_up(monkeypatch)
    abort, aborted = in_another_thread(lambda: bulk_operations.abort(operation.pk, by="dana").status)
    go_on.set()
    batch.join(90)
    abort.join(90)

    assert aborted == ["aborted"]
    assert bulk_operations.do_batch() is None
    assert figures(operation) == ("aborted", 3, 3, 0, 0)
    assert reload(operation).aborted_by == "dana"


@pytest.mark.django_db
def test_an_operation_that_has_ended_cannot_be_aborted():
    seven_failed()
    operation = plan(TaskFilter(statuses=("failed",)), RETRY)
    bulk_operations.run_batches()

    with pytest.raises(BulkOperationEnded, match="The operation is done; there is nothing to abort"):
        bulk_operations.abort(operation.pk, by="olga")


@pytest.mark.django_db
@pytest.mark.usefixtures("small_batches")
def test_a_search_goes_through_what_an_index_answers_with_piece_by_piece(monkeypatch):
    monkeypatch.setattr(bulk_operations, "LOOKED_THROUGH", 2)
    for number in range(7):
        one_step.using(labels={"tenant": "odd" if number % 2 else "even"}).enqueue(number)
    operation = plan(TaskFilter(labels=(("tenant", "odd"),)), CANCEL)

    while bulk_operations.do_batch() is not None:
        pass

    assert statuses() == ["queued", "cancelled"] * 3 + ["queued"]
    assert figures(operation) == ("done", 3, 3, 0, 0)


@pytest.mark.django_db
def test_a_search_that_ended_at_its_floor_means_no_task_below_it(monkeypatch):
    monkeypatch.setattr("taskqueue.engine.queries.filters.SEARCHED", 3)
    for number in range(5):
        one_step.using(labels={"tenant": "a"}).enqueue(number)
    operation = plan(TaskFilter(labels=(("tenant", "a"),), statuses=("queued",)), CANCEL)

    assert operation.estimate == 3
    bulk_operations.run_batches()

    assert statuses() == ["queued"] * 2 + ["cancelled"] * 3
