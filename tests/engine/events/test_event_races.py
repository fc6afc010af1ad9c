"""An event and those who wait for it, on connections of their own: whoever comes first, nobody is missed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from taskqueue import event_of, pipeline, sleep, wait_any, wait_for
from taskqueue.engine.events.route import route
from taskqueue.engine.events.send import send
from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.maintenance import dispatch
from taskqueue.models import Event, Step, Task, Wait
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.database.races import Held, at_once, die_after, elsewhere, until_a_lock_is_awaited
from tests.support.leases import take
from tests.support.pipelines.deduplicated import quiet_order

pytestmark = pytest.mark.django_db(transaction=True)


@pipeline("races/waits")
def waits() -> object:
    return wait_for("races/go", match={"a.b": 1}, timeout=timedelta(hours=1))


GO = {"a": {"b": 1}}


def work_elsewhere():
    """Work on another thread, which may have to wait for a lock."""
    pool = ThreadPoolExecutor(1)

    def deed():
        try:
            return work()
        finally:
            connection.close()

    return pool.submit(deed)


def result_of(task):
    work()
    return Task.objects.get(pk=task.pk).result


def test_an_event_written_before_and_committed_after_the_wait_was_registered_ends_it():
    task = waits.enqueue()
    sender = Held(lambda: send("races/go", GO))
    work()
    assert Task.objects.get(pk=task.pk).status == "waiting"

    sender.end()

    assert result_of(task) == GO


def test_a_wait_registered_while_its_event_is_being_routed_finds_it():
    task = waits.enqueue()
    with transaction.atomic():
        event = send("races/go", GO)
        # As if the sender had died between its commit and the routing.
        connection.run_on_commit.clear()
    router = Held(lambda: route(event.pk))
    worker = work_elsewhere()
    until_a_lock_is_awaited()
    assert router.end() is True
    worker.result(timeout=90)

    assert result_of(task) == GO


def test_an_event_that_its_sender_could_not_route_is_routed_by_the_next_look():
    task = waits.enqueue()
    work()
    with transaction.atomic():
        send("races/go", GO)
        connection.run_on_commit.clear()

    assert result_of(task) == GO
    assert Event.objects.get().routed_at is not None


def cancelling():
    """An event that cancels order 1, which nobody has routed."""
    with transaction.atomic():
        event = send("starts/order-cancelled", {"order": 1})
        connection.run_on_commit.clear()
    return event.pk


def test_an_event_that_meets_a_debounced_task_in_the_middle_of_a_change_does_not_cancel_what_it_becomes():
    task, event = quiet_order.using(labels={"shop": "s"}).enqueue("ada", 1), cancelling()
    change = Held(lambda: quiet_order.using(labels={"shop": "s"}).enqueue("ada", 2))

    router = elsewhere(lambda: route(event))
    assert change.end().pk == task.pk
    assert router.result(timeout=90) is True

    task.refresh_from_db()
    assert (task.status, task.payload["order"]) == ("scheduled", 2)


def test_a_request_that_meets_the_cancelling_of_a_debounced_task_makes_the_next_one():
    task, event = quiet_order.using(labels={"shop": "s"}).enqueue("ada", 1), cancelling()
    router = Held(lambda: route(event))

    request = elsewhere(lambda: quiet_order.using(labels={"shop": "s"}).enqueue("ada", 2))
    assert router.end() is True
    second = request.result(timeout=90)

    task.refresh_from_db()
    assert (task.status, second.status, second.duplicate) == ("cancelled", "scheduled", False)
    assert Wait.objects.filter(outcome="").count() == Wait.objects.filter(task=second).count() == 2


def test_two_events_for_one_wait_count_once():
    task = waits.enqueue()
    work()

    at_once(4, lambda: send("races/go", GO))

    assert result_of(task) == GO
    assert Wait.objects.filter(outcome="event").count() == 1


def test_two_routers_route_an_event_once():
    with transaction.atomic():
        event = send("races/waits.requested", {})
        connection.run_on_commit.clear()
    waits.enqueue()

    assert sorted(at_once(4, partial(route, event.pk))) == [False, False, False, True]
    assert Task.objects.filter(event=event).count() == 1


def test_an_event_that_came_in_time_counts_although_its_commit_came_late():
    task = waits.enqueue()
    work()
    Step.objects.update(until=Now() + timedelta(milliseconds=500))
    Wait.objects.update(until=Now() + timedelta(milliseconds=500))
    Task.objects.update(due_at=Now() + timedelta(milliseconds=500), sort_at=Now() + timedelta(milliseconds=500))
    with transaction.atomic():
        event = send("races/go", GO)
        connection.run_on_commit.clear()
    router = Held(lambda: route(event.pk))
    while not Step.objects.filter(until__lt=Now()).exists():
        pass
    # The timer has rung, but who routes the event holds the task: nobody takes it for timed out.
    assert work_elsewhere().result(timeout=90) == []
    router.end()

    assert result_of(task) == GO


def test_of_many_senders_with_one_id_one_sends_the_event():
    sent = at_once(12, lambda: send("races/go", GO, external_id="hook-1"))

    assert len({event.pk for event in sent}) == Event.objects.count() == 1
    assert sum(not event.duplicate for event in sent) == 1


@pytest.mark.parametrize("_repetition", range(4))
def test_whatever_comes_first_events_and_waits_of_many_tasks_find_each_other(_repetition):
    """Four workers bring twelve tasks to their waits while four senders send twelve events, one for each."""
    tasks = [numbered.enqueue(number) for number in range(12)]
    numbers = iter(range(12))
    turn = threading.Lock()

    def send_some():
        for _ in range(3):
            with turn:
                number = next(numbers)
            send("races/number", {"number": number})

    deeds = [work, send_some] * 4

    def take_deed():
        with turn:
            deed = deeds.pop()
        return deed()

    problems = [result for result in at_once(8, take_deed) if isinstance(result, Exception)]
    work()
    work()

    assert not problems
    assert [Task.objects.get(pk=task.pk).result for task in tasks] == list(range(12))
    assert Wait.objects.filter(outcome="event").count() == 12


@pipeline("races/numbered")
def numbered(number: int) -> int:
    came = wait_for("races/number", match={"number": number}, timeout=timedelta(hours=1))
    return -1 if came is None else came["number"]


@pytest.mark.parametrize("_repetition", range(5))
def test_of_an_event_and_the_timeout_one_wins_and_stays(_repetition):
    task = short.enqueue()
    work()
    Step.objects.update(until=Now())
    Wait.objects.update(until=Now())
    Task.objects.update(due_at=Now(), sort_at=Now())
    event = Event.objects.create(name="races/go", data=GO, received_at=Now() - timedelta(milliseconds=50))
    deeds = [work, lambda: route(event.pk)]

    at_once(2, lambda: deeds.pop()())
    work()
    first = Step.objects.get(task=task, key="races/go").output
    advance(minutes=2)
    work()

    task = Task.objects.get(pk=task.pk)
    outcome = Wait.objects.get().outcome
    assert task.result == [None if outcome == "timeout" else GO] * 2
    assert (first is None) == (outcome == "timeout")


@pipeline("races/short")
def short() -> list[object]:
    came = wait_for("races/go", timeout=timedelta(hours=1))
    sleep("on", timedelta(minutes=1))
    return [came, came]


def test_a_router_that_dies_in_the_middle_has_started_nothing_twice(monkeypatch):
    waiting = waits.enqueue()
    work()
    with transaction.atomic():
        event = send("races/go", GO)
        connection.run_on_commit.clear()
    die_after(monkeypatch, "start_pipelines")
    with pytest.raises(SystemExit):
        route(event.pk)
    assert (Task.objects.get(pk=waiting.pk).status, Event.objects.get().routed_at) == ("waiting", None)
    monkeypatch.undo()

    assert result_of(waiting) == GO
    assert Wait.objects.filter(resolved_by=event).count() == 1


def test_a_zombie_sends_no_event():
    first, second = InProcessWorker(), InProcessWorker()
    waits.enqueue()
    lease = take(first.row.pk)
    first.die()
    dispatch.run_due(5)
    take(second.row.pk)

    assert Journal(lease).emit("emit a", "a", "{}") is False

    assert not Event.objects.exists()
    assert not Step.objects.exists()
    second.leave()


def test_two_events_that_wake_the_same_tasks_in_opposite_order_do_not_lock_each_other_out():
    tasks = [either.enqueue(number) for number in range(20)]
    work()
    with transaction.atomic():
        sent = [send(name, {}) for name in ("races/left", "races/right")]
        connection.run_on_commit.clear()
    events = [event.pk for event in sent]

    results = at_once(2, lambda: route(events.pop()))
    work()

    assert results == [True, True]
    assert {Task.objects.get(pk=task.pk).status for task in tasks} == {"succeeded"}
    assert Wait.objects.filter(outcome="event").count() == len(tasks)


@pipeline("races/either")
def either(number: int) -> object:
    names = ["races/left", "races/right"] if number % 2 else ["races/right", "races/left"]
    came = wait_any(*map(event_of, names), timeout=timedelta(hours=1))
    return came and came.name
