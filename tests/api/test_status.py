"""GET /api/tasks/{id}/status."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import BoundedSemaphore, Semaphore
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from taskqueue.api.tasks import status
from taskqueue.engine.runtime import end_watch, watcher
from taskqueue.engine.tasks import control
from taskqueue.engine.worker.heartbeat_thread import private_connection
from taskqueue.models import EndWatch, Task
from tests.support.api import Api, enqueue_order, problem_of
from tests.support.moves import arranging
from tests.support.waiting import eventually

FULL = Semaphore(0)
MEMBERS = {
    "id", "pipeline", "status", "current_step", "steps_done", "steps_known", "progress", "progress_note", "attempt",
    "created_at", "started_at", "finished_at", "next_run_at", "waiting_for", "error", "waited",
}  # fmt: skip


@pytest.fixture
def quick_watch(monkeypatch):
    """The watch closes its connection before the test ends."""
    monkeypatch.setattr(watcher, "IDLE_TIMEOUT", 0.01)
    yield
    eventually(lambda: end_watch.watch._thread is None)


@pytest.fixture
def notifications_only(monkeypatch):
    """Nothing else ends a wait."""
    monkeypatch.setattr(end_watch, "RECHECK_AFTER", 3600)
    monkeypatch.setattr(end_watch, "POLL_INTERVAL", 3600)


def test_the_status_says_what_a_task_waits_for(api, queued):
    body = api.get(f"/api/tasks/{queued.pk}/status").json()

    assert set(body) == MEMBERS
    assert (body["status"], body["waiting_for"], body["next_run_at"] is None) == ("queued", "a live worker", False)
    assert (body["steps_done"], body["steps_known"]) == (0, 2)


def test_the_status_of_an_ended_task_has_its_error(api, failed):
    body = api.get(f"/api/tasks/{failed.pk}/status").json()

    assert (body["status"], body["steps_done"]) == ("failed", 1)
    assert body["error"] == {"type": "Permanent", "message": "ship is broken", "step": "ship"}


def test_the_status_of_an_ended_task_is_answered_at_once(api, succeeded, monkeypatch):
    monkeypatch.setattr(status, "watch", None)
    response = api.get(f"/api/tasks/{succeeded.pk}/status", wait=60)

    assert (response.json()["status"], response.json()["waited"]) == ("succeeded", False)
    assert "Retry-After" not in response


@pytest.mark.django_db(transaction=True)  # or what the watch has written would stay
def test_after_the_wait_the_current_status_is_answered(api, queued, quick_watch):
    started = time.monotonic()

    body = api.get(f"/api/tasks/{queued.pk}/status", wait=1).json()

    assert (body["status"], body["waited"]) == ("queued", True)
    assert time.monotonic() - started > 0.9


@pytest.mark.django_db(transaction=True)
def test_the_tasks_end_ends_the_wait(api, quick_watch, notifications_only):
    task = enqueue_order("A")

    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(hold, api, task)
        eventually(EndWatch.objects.filter(pk=task.pk).exists)
        in_transaction = sessions_in_transaction()
        control.cancel(task.pk)
        body = waiting.result()

    assert (body["status"], body["waited"], in_transaction) == ("cancelled", True, 0)


@pytest.mark.django_db(transaction=True)
def test_without_notifications_waiting_callers_are_answered_by_polling(api, quick_watch, monkeypatch):
    monkeypatch.setattr(watcher, "is_direct_connection", lambda _connection: False)
    task = enqueue_order("A")

    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(hold, api, task)
        eventually(lambda: task.pk in end_watch.watch._waiting)
        control.cancel(task.pk)
        body = waiting.result()

    assert (body["status"], body["waited"]) == ("cancelled", True)
    assert not EndWatch.objects.filter(pk=task.pk).exists()


@pytest.mark.django_db(transaction=True)
def test_an_end_without_waiting_callers_is_not_notified():
    alone, awaited = enqueue_order("A"), enqueue_order("B")
    EndWatch.objects.create(task=awaited, until=timezone.now())

    with closing(private_connection()) as listener:
        listener.execute(end_watch.LISTEN)
        for task in (alone, awaited):
            control.cancel(task.pk)
        (notice,) = listener.notifies(timeout=90, stop_after=1)

    assert notice.payload == str(awaited.pk)


def hold(api: Api, task: Task) -> dict[str, Any]:
    """The answer to a request that waits in a thread."""
    try:
        return api.get(f"/api/tasks/{task.pk}/status", wait=60).json()
    finally:
        connection.close()


def sessions_in_transaction() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE state LIKE 'idle in transaction%' AND datname = current_database()"
        )
        return cursor.fetchone()[0]


@pytest.mark.parametrize("wait", ["61", "-1", "soon", "nan"])
def test_an_invalid_wait_is_refused(api, queued, wait):
    assert problem_of(api.get(f"/api/tasks/{queued.pk}/status", wait=wait)) == (400, "invalid-query", ["/wait"])


def test_the_status_takes_one_query_and_that_of_a_queued_task_one_more(api, queued, django_assert_num_queries):
    with django_assert_num_queries(2):
        api.get(f"/api/tasks/{queued.pk}/status")
    with arranging():
        Task.objects.filter(pk=queued.pk).update(status="scheduled")
    with django_assert_num_queries(1):
        api.get(f"/api/tasks/{queued.pk}/status")


@pytest.mark.parametrize("server", ["without threads", "whose places are taken"])
def test_a_request_that_cannot_wait_gets_retry_after(api, queued, monkeypatch, server):
    monkeypatch.setattr(status, "watch", None)
    monkeypatch.setattr(status, "waiter_slots", lambda: BoundedSemaphore(1) if server == "without threads" else FULL)
    if server == "without threads":
        api.client.defaults["wsgi.multithread"] = False

    response = api.get(f"/api/tasks/{queued.pk}/status", wait=30)

    assert (response.status_code, response.json()["waited"]) == (200, False)
    assert int(response["Retry-After"]) > 0


def test_a_request_without_wait_gets_no_retry_after(api, queued):
    response = api.get(f"/api/tasks/{queued.pk}/status")

    assert response.json()["waited"] is False
    assert "Retry-After" not in response


def test_status_waiters_limits_waiting_requests_per_process(settings):
    settings.TASKQUEUE = {"STATUS_WAITERS": 2}
    status.waiter_slots.cache_clear()
    try:
        assert [status.waiter_slots().acquire(blocking=False) for _ in range(3)] == [True, True, False]
    finally:
        status.waiter_slots.cache_clear()
