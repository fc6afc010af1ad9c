"""A step that ends its worker process, in any way, fails its task after five losses, and disturbs no other task."""

from __future__ import annotations

import pytest

from taskqueue.engine.enqueue import enqueue
from taskqueue.models import Attempt, Task
from tests.support.processes.worker_command import enqueue_walk, finished
from tests.support.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

HOW = {
    "exit": "its process ended with exit code 3",
    "segfault": "its process was killed by SIGSEGV",
    "out of memory": "its process was killed by SIGKILL, perhaps because memory ran out",
}


@pytest.mark.slow
def test_five_lost_workers_fail_the_task(start, notes):
    command = start(processes=2)
    tasks = {how: enqueue.enqueue("tests/poison", {"how": how}) for how in ("exit", "segfault", "out of memory")}
    innocent = enqueue_walk(notes)

    ended = Task.objects.filter(pk__in=[task.pk for task in tasks.values()], status="failed")
    eventually(lambda: ended.count() == len(tasks), details=command.output)
    eventually(lambda: finished(innocent), details=command.output)

    eventually(lambda: not Attempt.objects.filter(step_key="").exists(), details=command.output)
    for task in ended:
        attempts = Attempt.objects.filter(task=task)
        assert [attempt.outcome for attempt in attempts] == ["lost"] * 5
        assert {attempt.step_key for attempt in attempts} == {"die"}
        how = HOW[task.payload["how"]]
        assert all(f"was lost: {how}." in attempt.error_message for attempt in attempts)
        assert all(("in die" in attempt.traceback) == (how == HOW["segfault"]) for attempt in attempts)
        assert (task.error["type"], task.error["step"]) == ("Poison", "die")
        assert task.error["message"] == f"5 workers in a row were lost in it; the last: {how}."
    assert not Attempt.objects.exclude(task__in=tasks.values()).exists()
    assert command.stop() == 0, command.output()
