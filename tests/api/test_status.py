"""GET /api/tasks/{id}/status."""

from __future__ import annotations

import threading
import time
from threading import BoundedSemaphore

import pytest
from django.db import connection

from taskqueue.api import verbs
from taskqueue.engine import control
from taskqueue.ids import uuid7
from taskqueue.models import Task
from tests.api.conftest import enqueue_order, problem_of

MEMBERS = {
    "id", "pipeline", "status", "current_step", "steps_done", "steps_known", "progress", "progress_note", "attempt",
    "created_at", "started_at", "finished_at", "next_run_at", "waiting_for", "error",
}  # fmt: skip


def test_a_waiting_task_tells_what_it_waits_for(api, queued):
    body = api.get(f"/api/tasks/{queued.pk}/status").json()

    assert set(body) == MEMBERS
    assert (body["status"], body["waiting_for"], body["next_run_at"] is None) == ("queued", "a live worker", False)
    assert (body["steps_done"], body["steps_known"]) == (0, 2)


def test_an_ended_task_tells_how_it_ended(api, failed):
    body = api.get(f"/api/tasks/{failed.pk}/status").json()

    assert (body["status"], body["steps_done"]) == ("failed", 1)
    assert body["error"] == {"type": "Permanent", "message": "ship is broken", "step": "ship"}


def test_an_ended_task_is_not_waited_for(api, succeeded):
    started = time.monotonic()

    assert api.get(f"/api/tasks/{succeeded.pk}/status", wait=60).json()["status"] == "succeeded"
    assert time.monotonic() - started < 5


def test_when_the_wait_is_over_the_task_is_answered_as_it_is(api, queued):
    started = time.monotonic()

    assert api.get(f"/api/tasks/{queued.pk}/status", wait=1).json()["status"] == "queued"
    assert 0.9 < time.monotonic() - started < 5


@pytest.mark.django_db(transaction=True)
def test_the_end_of_the_task_ends_the_wait_and_no_transaction_is_held(api):
    task = enqueue_order("A")
    in_transaction = []

    def cancel() -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE state = 'idle in transaction' AND datname = current_database()"
            )
            in_transaction.append(cursor.fetchone()[0])
        control.cancel(task.pk)
        connection.close()

    meanwhile = threading.Timer(0.5, cancel)
    meanwhile.start()
    started = time.monotonic()
    body = api.get(f"/api/tasks/{task.pk}/status", wait=60).json()
    meanwhile.join()

    assert (body["status"], in_transaction) == ("cancelled", [0])
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("wait", ["61", "-1", "soon", "nan"])
def test_a_wait_that_does_not_fit_is_refused(api, queued, wait):
    assert problem_of(api.get(f"/api/tasks/{queued.pk}/status", wait=wait)) == (400, "invalid-query", ["/wait"])


@pytest.mark.parametrize("query", [{}, {"wait": 30}])
def test_a_task_that_does_not_exist_is_not_found(api, query):
    assert problem_of(api.get(f"/api/tasks/{uuid7()}/status", **query)) == (404, "task-not-found", [])


def test_two_queries_tell_the_status_and_one_more_what_it_waits_for(api, queued, django_assert_num_queries):
    with django_assert_num_queries(3):
        api.get(f"/api/tasks/{queued.pk}/status")
    Task.objects.filter(pk=queued.pk).update(status="scheduled")
    with django_assert_num_queries(2):
        api.get(f"/api/tasks/{queued.pk}/status")


def test_when_too_many_wait_already_the_next_one_is_answered_at_once(api, queued, monkeypatch):
    monkeypatch.setattr(verbs, "waiters", BoundedSemaphore(1))
    verbs.waiters.acquire()
    monkeypatch.setattr(verbs, "wait_for_end", lambda *_args, **_options: pytest.fail("it waited"))

    assert api.get(f"/api/tasks/{queued.pk}/status", wait=30).status_code == 200
