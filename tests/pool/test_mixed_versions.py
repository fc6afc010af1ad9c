"""A deploy: the next release's migrations are applied while workers of this release execute tasks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.apps import apps
from django.db import transaction

from taskqueue.engine.enqueue import enqueue, options
from taskqueue.models import Attempt, Task
from tests.support.database.schema_changes import change
from tests.support.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(600)]

TASKS = 300
EVERY = timedelta(milliseconds=20)
LIVES = 20
"""Tasks with parallel steps, a wait, an event, a child and a timer."""


def tables() -> list[str]:
    return [model._meta.db_table for model in apps.get_app_config("taskqueue").get_models() if not model._meta.proxy]


def test_workers_run_while_later_migrations_are_applied(start, notes, marks):
    old = start()
    first = datetime.now(UTC) + timedelta(seconds=2)
    with transaction.atomic():
        for number in range(TASKS):
            due = options.Options(run_at=first + number * EVERY)
            enqueue.enqueue("tests/nap", {"seconds": 0.01}, options=due)
        for number in range(LIVES):
            due = options.Options(run_at=first + number * 10 * EVERY)
            payload = {"walk": {"notes": str(notes.path)}, "name": str(number)}
            enqueue.enqueue("tests/life", payload, options=due)
    done = Task.objects.filter(pipeline="tests/nap", status="succeeded")
    lives = Task.objects.filter(pipeline="tests/life", status="succeeded", parent=None)
    eventually(lambda: done.count() > 20, details=old.output)

    try:
        for table in tables():
            change(f"ALTER TABLE {table} ADD COLUMN tests_later integer DEFAULT 7 NOT NULL")
        assert done.count() < TASKS, "it was under load until the end"
        new = start()

        eventually(lambda: (done.count(), lives.count()) == (TASKS, LIVES), details=old.output)
        enqueue.enqueue("tests/nap", {"seconds": 0})
        eventually(lambda: done.count() == TASKS + 1, details=old.output)
    finally:
        for table in tables():
            change(f"ALTER TABLE {table} DROP COLUMN IF EXISTS tests_later")

    assert Attempt.objects.exclude(step_key="fail-once").count() == 0
    assert len(marks()) == LIVES * 4
    for command in (old, new):
        assert command.stop() == 0, command.output()
        assert "lost the database" not in command.output()
