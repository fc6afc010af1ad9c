"""Change the priority, the start and the labels of a task."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models.functions import Now

from taskqueue import CancelOn, Debounce, Limit, pipeline
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.tasks import control
from taskqueue.engine.tasks.change import change
from taskqueue.errors import InvalidOptions, NotChangeable, TaskNotFound
from taskqueue.ids import uuid7
from taskqueue.models import Task, Wait, Worker
from taskqueue.testing import advance, work
from tests.support.database.races import wait_for_blocked_session
from tests.support.pipelines import basic as pipelines
from tests.support.pipelines.basic import one_step, three_steps
from tests.support.registries import own_registry

HOUR = timedelta(hours=1)


def in_an_hour() -> datetime:
    return datetime.now(UTC) + HOUR


@pytest.mark.django_db
def test_a_task_with_a_higher_priority_runs_first():
    tasks = [one_step.enqueue(number) for number in range(3)]
    change(tasks[2].pk, priority=60)
    work()

    ended = Task.objects.order_by("finished_at").values_list("pk", flat=True)
    assert list(ended) == [tasks[2].pk, tasks[0].pk, tasks[1].pk]


@pytest.mark.django_db
def test_a_queued_task_can_start_later():
    task, until = one_step.enqueue(1), in_an_hour()

    changed = change(task.pk, run_at=until, priority=30)

    assert (changed.status, changed.due_at, changed.sort_at) == (
        "scheduled", until, until - timedelta(seconds=30),
    )  # fmt: skip
    assert work() == []
    advance(hours=1)
    work()
    assert Task.objects.get().status == "succeeded"


@pytest.mark.django_db
def test_a_scheduled_task_starts_now_with_a_past_time():
    task = one_step.using(run_at=in_an_hour()).enqueue(1)

    assert change(task.pk, run_at=datetime(2020, 1, 1, tzinfo=UTC)).status == "queued"
    work()
    assert Task.objects.get().status == "succeeded"


@pytest.mark.django_db
def test_the_deadline_of_the_start_moves_with_it():
    with own_registry():

        @pipeline("change/deadline", start_within=HOUR)
        def deadline() -> None: ...

        task, until = deadline.enqueue(), in_an_hour() + HOUR

        assert change(task.pk, run_at=until).start_by == until + HOUR
        advance(hours=2.5)
        work()
        assert Task.objects.get().status == "succeeded"


@pytest.mark.django_db
def test_each_value_changes_by_itself():
    task = one_step.using(labels={"a": "1"}, priority=5).enqueue(1)

    change(task.pk, labels={"b": "2"})
    changed = change(task.pk, priority=-5)

    assert (changed.labels, changed.priority, changed.status) == ({"b": "2"}, -5, "queued")


@pytest.mark.django_db
def test_what_was_computed_from_the_labels_stays():
    with own_registry():
        stop = CancelOn("change/stop", match={"tenant": "{tenant}"})

        @pipeline("change/keyed", concurrency=Limit(2, key="{tenant}"), cancel_on=stop)
        def keyed() -> None: ...

        task = keyed.using(labels={"tenant": "a"}).enqueue()
        changed = change(task.pk, labels={"tenant": "b"})

    assert (changed.labels, changed.concurrency_key) == ({"tenant": "b"}, "a")
    assert Wait.objects.get(task=task.pk).match == {"tenant": "a"}


@pytest.mark.django_db
def test_a_waiting_task_gets_a_priority_but_no_start():
    pipelines.broken["three"] = 1
    task = three_steps.enqueue(1)
    work()
    assert Task.objects.get().status == "retrying"

    with pytest.raises(NotChangeable, match="The task is retrying: it has started"):
        change(task.pk, run_at=in_an_hour(), priority=9)
    assert Task.objects.get().priority == 0
    assert change(task.pk, priority=9).priority == 9


@pytest.mark.django_db
def test_an_ended_task_is_refused():
    task = one_step.enqueue(1)
    control.cancel(task.pk)

    with pytest.raises(NotChangeable, match="The task is cancelled: it has ended"):
        change(task.pk, priority=1)
    with pytest.raises(TaskNotFound):
        change(uuid7(), priority=1)


@pytest.mark.django_db
def test_a_debounced_task_that_is_due_does_not_wait_again():
    with own_registry():

        @pipeline("change/debounced", debounce=Debounce(HOUR))
        def debounced() -> None: ...

        first = debounced.enqueue()
        control.run_now(first.pk)
        assert debounced.enqueue().pk != first.pk

        with pytest.raises(NotChangeable):
            change(first.pk, run_at=in_an_hour())


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("values", "pointer"),
    [
        ({"priority": 601}, "/priority"),
        ({"run_at": datetime(2030, 1, 1)}, "/run_at"),  # noqa: DTZ001 - that is the mistake
        ({"labels": {"a": "\0"}}, "/labels/a"),
    ],
)
def test_invalid_values_are_refused(values, pointer):
    with pytest.raises(InvalidOptions) as refused:
        change(one_step.enqueue(1).pk, **values)

    assert [error.pointer for error in refused.value.errors] == [pointer]


@pytest.mark.django_db
def test_a_change_is_audited_and_nothing_else_is():
    dana = User.objects.create_user("dana")
    task = one_step.using(priority=5, labels={"a": "1"}).enqueue(1)
    actor = Actor(dana.pk, "dana")

    change(task.pk, priority=7, labels={}, run_at=datetime(2030, 1, 31, 8, tzinfo=UTC), actor=actor)
    change(task.pk, priority=7, labels={}, actor=actor)

    (entry,) = LogEntry.objects.all()
    assert entry.get_change_message() == "Changed priority from 5 to 7, start to 2030-01-31 08:00:00 UTC, labels."


def change_in_thread(task: Task) -> None:
    try:
        change(task.pk, run_at=in_an_hour())
    finally:
        connection.close()


@pytest.mark.django_db(transaction=True)
def test_a_change_waits_for_a_claim_and_then_finds_the_task_started():
    task, worker = one_step.enqueue(1), Worker.objects.create(host="h", pid=1)
    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic():
            Task.objects.filter(pk=task.pk).update(status="running", started_at=Now(), worker=worker)
            changing = thread.submit(change_in_thread, task)
            wait_for_blocked_session()
        with pytest.raises(NotChangeable, match="The task is running"):
            changing.result()
