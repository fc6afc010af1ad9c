"""Sweeps: one that fails does not stop the others, nor the doorbell that calls them."""

from __future__ import annotations

import pytest
from django.db import OperationalError, connection

from taskqueue.engine import chores
from taskqueue.engine.patience import PATIENCE

pytestmark = pytest.mark.django_db


def broken() -> int:
    raise ValueError("one bad row")


def away() -> int:
    raise OperationalError("the database is away")


def test_a_sweep_that_fails_is_logged_and_the_others_are_done(monkeypatch, caplog):
    monkeypatch.setattr(chores, "CHORES", (broken, lambda: 3))

    assert chores.do_chores() == 3
    assert "broken failed" in caplog.text
    assert "one bad row" in caplog.text


def test_a_database_that_is_away_is_not_taken_for_a_bad_row(monkeypatch):
    monkeypatch.setattr(chores, "CHORES", (away,))

    with pytest.raises(OperationalError):
        chores.do_chores()


def test_a_sweep_does_not_wait_for_long_and_leaves_the_connection_as_it_was(monkeypatch):
    seen = []

    def look() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            seen.append(cursor.fetchone()[0])
        return 0

    monkeypatch.setattr(chores, "CHORES", (look,))
    chores.do_chores()
    look()

    assert seen == [PATIENCE, "0"]
