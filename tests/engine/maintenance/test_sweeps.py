"""Sweeps: one that fails does not stop the others, nor the doorbell that calls them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError, connection, transaction

from taskqueue.engine.events.send import send
from taskqueue.engine.maintenance import dispatch, sweeps
from taskqueue.engine.runtime.locks import PATIENCE
from taskqueue.models import Task
from taskqueue.testing import advance
from tests.support.database.races import Held
from tests.support.pipelines.basic import one_step

pytestmark = pytest.mark.django_db


def broken() -> int:
    raise ValueError("one bad row")


def away() -> int:
    raise OperationalError("the database is away")


def test_a_sweep_that_fails_is_logged_and_the_others_are_done(monkeypatch, caplog):
    monkeypatch.setattr(sweeps, "CHORES", (broken, lambda: 3))

    assert sweeps.run_sweeps() == 3
    assert "broken failed" in caplog.text
    assert "one bad row" in caplog.text


def too_slow() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '10ms'")
        cursor.execute("SELECT pg_sleep(60)")
    return 1


def test_a_sweep_that_takes_too_long_is_logged_and_the_others_are_done(monkeypatch, caplog):
    monkeypatch.setattr(sweeps, "CHORES", (too_slow, lambda: 3))

    assert sweeps.run_sweeps() == 3
    assert "too_slow took too long" in caplog.text


def test_a_database_that_is_away_is_not_taken_for_a_bad_row(monkeypatch):
    monkeypatch.setattr(sweeps, "CHORES", (away,))

    with pytest.raises(OperationalError):
        sweeps.run_sweeps()


@pytest.mark.django_db(transaction=True)
def test_a_sweep_that_takes_too_long_keeps_no_timer_from_ringing(monkeypatch, caplog):
    """As behind what others hold for longer than a statement of a doorbell's process may take."""
    monkeypatch.setattr(sweeps, "PATIENCE", "20s")
    task = one_step.using(run_at=datetime.now(UTC) + timedelta(hours=1)).enqueue(1)
    advance(hours=2)
    with transaction.atomic():
        send("chores/came", {})
        connection.run_on_commit.clear()

    def lock():
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE taskqueue_trigger IN ACCESS EXCLUSIVE MODE")

    holder = Held(lock)
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '1s'")
        dispatch.run_due(1)
        cursor.execute("RESET statement_timeout")
    holder.end()

    assert Task.objects.get(pk=task.pk).status == "queued"
    assert "takes too long" in caplog.text


def test_a_sweep_does_not_wait_for_long_and_leaves_the_connection_as_it_was(monkeypatch):
    seen = []

    def look() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            seen.append(cursor.fetchone()[0])
        return 0

    monkeypatch.setattr(sweeps, "CHORES", (look,))
    sweeps.run_sweeps()
    look()

    assert seen == [PATIENCE, "0"]
