"""A real worker process is killed before, inside and after every commit of a task's life, and nothing shows it.

Inside: the statement or the COMMIT is on its way to the server, and nobody is there for the answer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from taskqueue.models import Attempt, Step, StepSlot, Task, Worker
from tests.support.processes import pipelines  # noqa: F401 - registers them in this process too
from tests.support.processes.processes import ROOT

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

SIDES = ("before", "inside", "after")
STEPS = {
    "stride",
    "mark",
    "stumble",
    "rest",
    "mark#2",
    "mark#3",
    "tests/child",
    "emit tests/grown",
    "tests/grown",
    "stride#2",
}


class Mortals:
    """The process that forks workers which kill themselves."""

    def __init__(self, log: Path) -> None:
        self.log = log
        env = {**os.environ, "DEBUG": "true", "WORKER_TEST_DATABASE": str(connection.settings_dict["NAME"])}
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.processes.crashing_worker"],
                cwd=ROOT,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def order(self, do: str, *, may_live: bool = False, **more: Any) -> list[str]:
        """Have a worker do something; what it has committed. It dies if it is told to, and else ends in peace.

        Args:
            do: one of the orders.
            may_live: it may have come to the end before it was to die: there are sweeps that come too late to find
                anything, and then commit nothing.
            more: what the order needs.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline() or "{}")
        codes = ([-9] if more.get("die") else [0]) + [0] * may_live
        assert answer.get("code") in codes, f"{do} {more}: {answer}\n{self.log.read_text()}"
        return list(answer["commits"])

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def mortals(marks: Callable[[], list[str]], tmp_path: Path) -> Iterator[Mortals]:
    started = Mortals(tmp_path / "mortals.log")
    yield started
    started.close()


def assert_nothing_is_left() -> None:
    """No task under way, no branch, no end untold, no place taken, no worker that passes for alive."""
    assert not Task.objects.filter(finished_at=None).exists()
    assert not Task.objects.filter(completion_pending_at__isnull=False).exists()
    assert not Task.objects.exclude(parallel_step="").exists()
    assert not StepSlot.objects.exists()
    assert not Worker.objects.filter(ended_at=None).exists()


@pytest.mark.slow
def test_a_life_is_the_same_wherever_its_worker_dies(mortals, marks, tmp_path):
    def notes_of(key: str) -> str:
        return str(tmp_path / key.replace(" ", "-"))

    commits = mortals.order("live", key="whole", notes=notes_of("whole"))
    assert {"ENQUEUE", "CLAIM", "CHECKPOINT", "TRY_AGAIN", "PROMOTE", "FINISH"} <= set(commits)
    moments = [(number + 1, side) for number in range(len(commits)) for side in SIDES]

    for number, side in moments:
        mortals.order(
            "live", key=f"{number} {side}", may_live=number > 30, notes=notes_of(f"{number} {side}"), die=[number, side]
        )
    mortals.order("live", key="last", notes=notes_of("last"))

    outcomes = Counter(attempt.outcome for attempt in Attempt.objects.filter(task__pipeline="tests/life"))
    assert outcomes["lost"] > len(moments) // 3, "where a worker died between two tasks, no try was lost"
    lives = {task.key: task for task in Task.objects.filter(pipeline="tests/life")}
    told = ["whole", *(f"{number} {side}" for number, side in moments), "last"]
    # Killed before its first commit, a task was never made; killed inside, it was or was not.
    assert set(told) - set(lives) <= {"1 before", "1 inside"}
    for key, task in lives.items():
        assert (task.status, task.result) == ("succeeded", key), key
        steps = list(Step.objects.filter(task=task).values_list("key", "status"))
        assert len(steps) == len(STEPS), (key, steps)
        assert set(steps) == {(step, "succeeded") for step in STEPS}, key
        ended = [line.split()[1] for line in Path(notes_of(key)).read_text().splitlines() if "end" in line]
        assert set(ended) == {"1", "2"}
        assert len(ended) <= 3, f"{key}: a plain step ran again more than once"
        tries = Counter(task.attempts.values_list("outcome", flat=True))
        assert tries["lost"] <= 2, f"{key}: one death, of a worker that may have held both parallel steps"
        assert tries["failed"] == 1, key
    assert marks() == sorted(f"{key}{part}" for key in lives for part in ("", " left", " right", " child"))
    assert Task.objects.filter(pipeline="tests/child").count() == len(lives)
    assert_nothing_is_left()


@pytest.mark.slow
def test_a_cancel_is_done_or_not_and_can_be_done_again(mortals):
    mortals.order("enqueue", key="whole")
    commits = mortals.order("cancel", key="whole")
    assert len(commits) >= 2, "the task, and its child"

    for number in range(1, len(commits) + 1):
        for side in SIDES:
            key = f"{number} {side}"
            mortals.order("enqueue", key=key)
            mortals.order("cancel", key=key, die=[number, side])
            mortals.order("recover")
            if Task.objects.get(key=key).status != "cancelled":
                assert number == 1
                assert side != "after"
                mortals.order("cancel", key=key)
    mortals.order("enqueue", key="last")
    mortals.order("cancel", key="last")

    assert set(Task.objects.values_list("status", flat=True)) == {"cancelled"}
    assert Task.objects.count() == 2 * (2 + 3 * len(commits))
    assert_nothing_is_left()


@pytest.mark.slow
def test_a_recovery_is_done_once_wherever_it_is_interrupted(mortals, tmp_path):
    notes = str(tmp_path / "notes")
    commits = mortals.order("live", key="whole", notes=notes)
    claimed = commits.index("CLAIM") + 1

    for number, side in [(number, side) for number in (1, 2) for side in SIDES]:
        key = f"{number} {side}"
        mortals.order("live", key=key, notes=notes, die=[claimed, "after"])
        task = Task.objects.get(key=key)
        assert task.status == "running"
        recovered = mortals.order("recover", die=[number, side])
        assert recovered[0] == "RECOVER"
        mortals.order("recover")
        task.refresh_from_db()
        assert (task.status, task.attempts.filter(outcome="lost").count()) == ("queued", 1), key
        # Each recovery that was killed was a worker too, and held nothing.
        assert not Worker.objects.filter(ended_at=None).exists()
    mortals.order("live", key="last", notes=notes)

    assert set(Task.objects.values_list("status", flat=True)) == {"succeeded"}
    assert_nothing_is_left()
