"""A step that ends its worker process in whatever way ends its task after five losses, and nothing else suffers."""

from __future__ import annotations

import pytest

from taskqueue.engine import intake
from taskqueue.models import Attempt, Task
from tests.house.processes import eventually
from tests.workers.command import enqueue_walk, finished

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


def test_five_lost_workers_are_enough_however_they_were_lost(start, notes):
    command = start(processes=2)
    tasks = {how: intake.enqueue("tests/poison", {"how": how}) for how in ("exit", "segfault", "out of memory")}
    innocent = enqueue_walk(notes)

    ended = Task.objects.filter(pk__in=[task.pk for task in tasks.values()], status="failed")
    eventually(lambda: ended.count() == len(tasks), within=120, otherwise=command.said)
    eventually(lambda: finished(innocent), within=20, otherwise=command.said)

    for task in ended:
        attempts = Attempt.objects.filter(task=task)
        assert [attempt.outcome for attempt in attempts] == ["lost"] * 5
        assert all("was lost: its process ended" in attempt.error_message for attempt in attempts)
        assert task.error["type"] == "Poison"
        assert task.error["message"].startswith("5 workers in a row were lost in it")
    assert command.stop() == 0, command.said()
