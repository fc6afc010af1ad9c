"""Two worker commands are replaced one after the other while tasks become due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.db import transaction
from django.db.models import F, Max

from taskqueue.engine.enqueue import enqueue, options
from taskqueue.models import Attempt, Task
from tests.support.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(600)]

TASKS = 2_000
"""So many that some are due until the end; the rest is deleted then."""
EVERY = timedelta(milliseconds=50)


def test_a_rolling_restart_under_load_fails_no_task(start):
    old = [start(), start()]
    first = datetime.now(UTC) + timedelta(seconds=3)
    with transaction.atomic():
        for number in range(TASKS):
            due = options.Options(run_at=first + number * EVERY)
            enqueue.enqueue("tests/nap", {"seconds": 0.01}, options=due)
    eventually(lambda: Task.objects.filter(status="succeeded").count() > 20, details=old[0].output)

    for command in old:
        start()
        assert command.stop() == 0, command.output()
    assert Task.objects.filter(status="scheduled").delete()[0], "it was under load until the end"

    eventually(lambda: not Task.objects.exclude(status="succeeded").exists(), details=old[0].output)
    assert not Attempt.objects.exists()
    starts = list(Task.objects.order_by("started_at").values_list("started_at", flat=True))
    # A released task starts at once. One that waits for its lost worker's heartbeat would start 30 s later.
    assert max(later - earlier for earlier, later in pairwise(starts)) < timedelta(seconds=15)
    latest = Task.objects.aggregate(wait=Max(F("started_at") - F("due_at")))["wait"]
    assert latest < timedelta(seconds=15)
