"""A sweep that fails or waits does not stop the other sweeps or the dispatcher."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError, connection, transaction

from taskqueue.engine.events.send import send
from taskqueue.engine.maintenance import dispatch, sweeps
from taskqueue.engine.runtime.locks import LOCK_TIMEOUT
from taskqueue.models import Task
from taskqueue.testing import advance
from tests.support.database.races import OpenTransaction
from tests.support.pipelines.basic import one_step

pytestmark = pytest.mark.django_db


def broken() -> int:
    raise ValueError("one bad row")


def away() -> int:
    raise OperationalError("the database is away")


def test_a_failed_sweep_is_logged_and_the_others_run(monkeypatch, caplog):
    monkeypatch.setattr(sweeps, "SWEEPS", (broken, lambda: 3))

    assert sweeps.run_sweeps() == 3
    assert "broken failed" in caplog.text
    assert "one bad row" in caplog.text


def too_slow() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '10ms'")
        cursor.execute("SELECT pg_sleep(60)")
    return 1


def test_a_slow_sweep_is_logged_and_the_others_run(monkeypatch, caplog):
    monkeypatch.setattr(sweeps, "SWEEPS", (too_slow, lambda: 3))

    assert sweeps.run_sweeps() == 3
    assert "too_slow took too long" in caplog.text


def test_a_lost_database_connection_is_raised(monkeypatch):
    monkeypatch.setattr(sweeps, "SWEEPS", (away,))

    with pytest.raises(OperationalError):
        sweeps.run_sweeps()


@pytest.mark.django_db(transaction=True)
def test_a_slow_sweep_does_not_block_timers(monkeypatch, caplog):
    """A lock is held for longer than the statement timeout of the notifier."""
    monkeypatch.setattr(sweeps, "LOCK_TIMEOUT", "20s")
    task = one_step.using(run_at=datetime.now(UTC) + timedelta(hours=1)).enqueue(1)
    advance(hours=2)
    with transaction.atomic():
        send("chores/came", {})
        connection.run_on_commit.clear()

    def lock():
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE taskqueue_trigger IN ACCESS EXCLUSIVE MODE")

    holder = OpenTransaction(lock)
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '1s'")
        dispatch.run_due(1)
        cursor.execute("RESET statement_timeout")
    holder.end()

    assert Task.objects.get(pk=task.pk).status == "queued"
    assert "took too long" in caplog.text


def test_a_sweep_restores_the_lock_timeout(monkeypatch):
    seen = []

    def look() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            seen.append(cursor.fetchone()[0])
        return 0

    monkeypatch.setattr(sweeps, "SWEEPS", (look,))
    sweeps.run_sweeps()
    look()

    assert seen == [LOCK_TIMEOUT, "0"]
