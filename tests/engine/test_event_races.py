"""An event and those who wait for it, on connections of their own: whoever comes first, nobody is missed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from taskqueue import pipeline, wait_for
from taskqueue.engine.events import send
from taskqueue.engine.routing import route
from taskqueue.models import Event, Step, Task, Wait
from taskqueue.testing import work
from tests.engine.test_races import at_once

pytestmark = pytest.mark.django_db(transaction=True)


@pipeline("races/waits")
def waits() -> object:
    return wait_for("races/go", match={"a.b": 1}, timeout=timedelta(hours=1))


GO = {"a": {"b": 1}}


class Held:
    """A deed in a transaction of its own that stays open until it is told to commit."""

    def __init__(self, deed):
        self.done, self.commit = threading.Event(), threading.Event()
        self.pool = ThreadPoolExecutor(1)
        self.future = self.pool.submit(self.hold, deed)
        assert self.done.wait(timeout=20)

    def hold(self, deed):
        try:
            with transaction.atomic():
                result = deed()
                self.done.set()
                assert self.commit.wait(timeout=20)
            return result
        finally:
            connection.close()

    def end(self):
        self.commit.set()
        result = self.future.result(timeout=20)
        self.pool.shutdown()
        return result


def work_elsewhere():
    """Work on another thread, which may have to wait for a lock."""
    pool = ThreadPoolExecutor(1)

    def deed():
        try:
            return work()
        finally:
            connection.close()

    return pool.submit(deed)


def until_somebody_waits_for_a_lock():
    while True:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return


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
    until_somebody_waits_for_a_lock()
    assert router.end() is True
    worker.result(timeout=20)

    assert result_of(task) == GO


def test_an_event_that_its_sender_could_not_route_is_routed_by_the_next_look():
    task = waits.enqueue()
    work()
    with transaction.atomic():
        send("races/go", GO)
        connection.run_on_commit.clear()

    assert result_of(task) == GO
    assert Event.objects.get().routed_at is not None


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
    assert work_elsewhere().result(timeout=20) == []
    router.end()

    assert result_of(task) == GO
