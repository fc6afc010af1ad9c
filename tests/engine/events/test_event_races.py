"""Events and waits on concurrent connections: an event finds its wait in any order of their transactions."""

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
from tests.support.database.races import (
    OpenTransaction,
    crash_after,
    run_concurrently,
    run_until_blocked,
    wait_for_blocked_session,
)
from tests.support.leases import take
from tests.support.pipelines.deduplicated import quiet_order

pytestmark = pytest.mark.django_db(transaction=True)


@pipeline("races/waits")
def waits() -> object:
    return wait_for("races/go", match={"a.b": 1}, timeout=timedelta(hours=1))


GO = {"a": {"b": 1}}


def work_elsewhere():
    """Run tasks on another thread, which may have to wait for a lock."""
    pool = ThreadPoolExecutor(1)

    def run():
        try:
            return work()
        finally:
            connection.close()

    return pool.submit(run)


def result_of(task):
    work()
    return Task.objects.get(pk=task.pk).result


def test_an_event_committed_after_the_wait_registered_ends_it():
    task = waits.enqueue()
    sender = OpenTransaction(lambda: send("races/go", GO))
    work()
    assert Task.objects.get(pk=task.pk).status == "waiting"

    sender.end()

    assert result_of(task) == GO


def test_a_wait_registered_during_routing_finds_its_event():
    task = waits.enqueue()
    with transaction.atomic():
        event = send("races/go", GO)
        # Like a crash of the sender between its commit and the routing.
        connection.run_on_commit.clear()
    router = OpenTransaction(lambda: route(event.pk))
    worker = work_elsewhere()
    wait_for_blocked_session()
    assert router.end() is True
    worker.result(timeout=90)

    assert result_of(task) == GO


def test_an_unrouted_event_is_routed_by_the_next_sweep():
    task = waits.enqueue()
    work()
    with transaction.atomic():
        send("races/go", GO)
        connection.run_on_commit.clear()

    assert result_of(task) == GO
    assert Event.objects.get().routed_at is not None


def cancelling():
    """An unrouted event that cancels order 1."""
    with transaction.atomic():
        event = send("starts/order-cancelled", {"order": 1})
        connection.run_on_commit.clear()
    return event.pk


def test_a_cancelling_event_spares_a_debounced_task_whose_payload_changes():
    task, event = quiet_order.using(labels={"shop": "s"}).enqueue("ada", 1), cancelling()
    change = OpenTransaction(lambda: quiet_order.using(labels={"shop": "s"}).enqueue("ada", 2))

    router = run_until_blocked(lambda: route(event))
    assert change.end().pk == task.pk
    assert router.result(timeout=90) is True

    task.refresh_from_db()
    assert (task.status, task.payload["order"]) == ("scheduled", 2)


def test_a_request_during_a_debounced_tasks_cancel_makes_another():
    task, event = quiet_order.using(labels={"shop": "s"}).enqueue("ada", 1), cancelling()
    router = OpenTransaction(lambda: route(event))

    request = run_until_blocked(lambda: quiet_order.using(labels={"shop": "s"}).enqueue("ada", 2))
    assert router.end() is True
    second = request.result(timeout=90)

    task.refresh_from_db()
    assert (task.status, second.status, second.duplicate) == ("cancelled", "scheduled", False)
    assert Wait.objects.filter(outcome="").count() == Wait.objects.filter(task=second).count() == 2


def test_two_events_for_one_wait_count_once():
    task = waits.enqueue()
    work()

    run_concurrently(4, lambda: send("races/go", GO))

    assert result_of(task) == GO
    assert Wait.objects.filter(outcome="event").count() == 1


def test_two_routers_route_an_event_once():
    with transaction.atomic():
        event = send("races/waits.requested", {})
        connection.run_on_commit.clear()
    waits.enqueue()

    assert sorted(run_concurrently(4, partial(route, event.pk))) == [False, False, False, True]
    assert Task.objects.filter(event=event).count() == 1


def test_an_event_sent_in_time_counts_despite_a_late_commit():
    task = waits.enqueue()
    work()
    Step.objects.update(until=Now() + timedelta(milliseconds=500))
    Wait.objects.update(until=Now() + timedelta(milliseconds=500))
    Task.objects.update(due_at=Now() + timedelta(milliseconds=500), sort_at=Now() + timedelta(milliseconds=500))
    with transaction.atomic():
        event = send("races/go", GO)
        connection.run_on_commit.clear()
    router = OpenTransaction(lambda: route(event.pk))
    while not Step.objects.filter(until__lt=Now()).exists():
        pass
    # The wait is over its time, but the router has locked the task: it does not time out.
    assert work_elsewhere().result(timeout=90) == []
    router.end()

    assert result_of(task) == GO


def test_concurrent_senders_with_one_id_send_one_event():
    sent = run_concurrently(12, lambda: send("races/go", GO, external_id="hook-1"))

    assert len({event.pk for event in sent}) == Event.objects.count() == 1
    assert sum(not event.duplicate for event in sent) == 1


@pytest.mark.parametrize("_repetition", range(4))
def test_concurrent_events_and_waits_find_each_other(_repetition):
    """Four workers run twelve tasks until they wait, while four senders send an event for each."""
    tasks = [numbered.enqueue(number) for number in range(12)]
    numbers = iter(range(12))
    lock = threading.Lock()

    def send_some():
        for _ in range(3):
            with lock:
                number = next(numbers)
            send("races/number", {"number": number})

    actions = [work, send_some] * 4

    def act():
        with lock:
            action = actions.pop()
        return action()

    problems = [result for result in run_concurrently(8, act) if isinstance(result, Exception)]
    work()
    work()

    assert not problems
    assert [Task.objects.get(pk=task.pk).result for task in tasks] == list(range(12))
    assert Wait.objects.filter(outcome="event").count() == 12


@pipeline("races/numbered")
def numbered(number: int) -> int:
    event = wait_for("races/number", match={"number": number}, timeout=timedelta(hours=1))
    return -1 if event is None else event["number"]


@pytest.mark.parametrize("_repetition", range(5))
def test_either_the_event_or_the_timeout_wins(_repetition):
    task = short.enqueue()
    work()
    Step.objects.update(until=Now())
    Wait.objects.update(until=Now())
    Task.objects.update(due_at=Now(), sort_at=Now())
    event = Event.objects.create(name="races/go", data=GO, received_at=Now() - timedelta(milliseconds=50))
    actions = [work, lambda: route(event.pk)]

    run_concurrently(2, lambda: actions.pop()())
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
    event = wait_for("races/go", timeout=timedelta(hours=1))
    sleep("on", timedelta(minutes=1))
    return [event, event]


def test_a_crash_during_routing_starts_nothing_twice(monkeypatch):
    waiting = waits.enqueue()
    work()
    with transaction.atomic():
        event = send("races/go", GO)
        connection.run_on_commit.clear()
    crash_after(monkeypatch, "start_pipelines")
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


def test_two_events_that_wake_common_tasks_do_not_deadlock():
    tasks = [either.enqueue(number) for number in range(20)]
    work()
    with transaction.atomic():
        sent = [send(name, {}) for name in ("races/left", "races/right")]
        connection.run_on_commit.clear()
    events = [event.pk for event in sent]

    results = run_concurrently(2, lambda: route(events.pop()))
    work()

    assert results == [True, True]
    assert {Task.objects.get(pk=task.pk).status for task in tasks} == {"succeeded"}
    assert Wait.objects.filter(outcome="event").count() == len(tasks)


@pipeline("races/either")
def either(number: int) -> object:
    names = ["races/left", "races/right"] if number % 2 else ["races/right", "races/left"]
    event = wait_any(*map(event_of, names), timeout=timedelta(hours=1))
    return event and event.name
