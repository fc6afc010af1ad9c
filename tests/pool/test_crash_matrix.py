"""A real worker process is killed before, inside and after every commit of a task, without any effect on the result.

Inside: the statement or the COMMIT is sent to the server, and the process dies before the answer.
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
    "fail-once",
    "rest",
    "mark#2",
    "mark#3",
    "tests/child",
    "emit tests/grown",
    "tests/grown",
    "stride#2",
}


class CrashingWorkers:
    """The process that forks workers that kill themselves."""

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

    def run(self, do: str, *, may_live: bool = False, **more: Any) -> list[str]:
        """Run a command in a worker. Returns its commits. With `die` it kills itself at a commit.

        Args:
            do: one of the commands.
            may_live: the worker may end before that commit, because a sweep that finds no rows does not commit.
            more: the arguments of the command.
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
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def workers(marks: Callable[[], list[str]], tmp_path: Path) -> Iterator[CrashingWorkers]:
    started = CrashingWorkers(tmp_path / "workers.log")
    yield started
    started.close()


def assert_no_leftovers() -> None:
    """No open task, no parallel step, no pending completion, no slot, no living worker."""
    assert not Task.objects.filter(finished_at=None).exists()
    assert not Task.objects.filter(completion_pending_at__isnull=False).exists()
    assert not Task.objects.exclude(parallel_step="").exists()
    assert not StepSlot.objects.exists()
    assert not Worker.objects.filter(ended_at=None).exists()


@pytest.mark.slow
def test_a_crash_at_any_commit_does_not_change_the_result(workers, marks, tmp_path):
    def notes_of(key: str) -> str:
        return str(tmp_path / key.replace(" ", "-"))

    commits = workers.run("live", key="whole", notes=notes_of("whole"))
    assert {"ENQUEUE", "CLAIM", "CHECKPOINT", "RETRY", "PROMOTE", "FINISH"} <= set(commits)
    crash_points = [(number + 1, side) for number in range(len(commits)) for side in SIDES]

    killed_with_a_task = 0
    for number, side in crash_points:
        key = f"{number} {side}"
        commits = workers.run("live", key=key, may_live=number > 30, notes=notes_of(key), die=[number, side])
        # The last commit is the one that the worker died at. It varies: sweeps that find no rows do not commit.
        killed_with_a_task += len(commits) == number and (
            commits[-1] == "CHECKPOINT" or (side == "before" and commits[-1].startswith("LOCK_LEASED_TASK"))
        )
    workers.run("live", key="last", notes=notes_of("last"))

    lost = Attempt.objects.filter(outcome="lost").count()
    assert lost >= killed_with_a_task > len(STEPS), "each such death is a lost attempt"
    lives = {task.key: task for task in Task.objects.filter(pipeline="tests/life")}
    keys = ["whole", *(f"{number} {side}" for number, side in crash_points), "last"]
    # Killed before its first commit, a task does not exist; killed inside it, the task may exist.
    assert set(keys) - set(lives) <= {"1 before", "1 inside"}
    for key, task in lives.items():
        assert (task.status, task.result) == ("succeeded", key), key
        steps = list(Step.objects.filter(task=task).values_list("key", "status"))
        assert len(steps) == len(STEPS), (key, steps)
        assert set(steps) == {(step, "succeeded") for step in STEPS}, key
        ended = [line.split()[1] for line in Path(notes_of(key)).read_text().splitlines() if "end" in line]
        assert set(ended) == {"1", "2"}
        assert len(ended) <= 3, f"{key}: a plain step ran again more than once"
        attempts = Counter(task.attempts.values_list("outcome", flat=True))
        assert attempts["lost"] <= 2, f"{key}: one crash, of a worker that may have held both parallel steps"
        assert attempts["failed"] == 1, key
    assert marks() == sorted(f"{key}{part}" for key in lives for part in ("", " left", " right", " child"))
    assert Task.objects.filter(pipeline="tests/child").count() == len(lives)
    assert_no_leftovers()


@pytest.mark.slow
def test_a_cancellation_that_crashes_can_be_repeated(workers):
    workers.run("enqueue", key="whole")
    commits = workers.run("cancel", key="whole")
    assert len(commits) >= 2, "the task, and its child"

    for number in range(1, len(commits) + 1):
        for side in SIDES:
            key = f"{number} {side}"
            workers.run("enqueue", key=key)
            workers.run("cancel", key=key, die=[number, side])
            workers.run("recover")
            if Task.objects.get(key=key).status != "cancelled":
                assert number == 1
                assert side != "after"
                workers.run("cancel", key=key)
    workers.run("enqueue", key="last")
    workers.run("cancel", key="last")

    assert set(Task.objects.values_list("status", flat=True)) == {"cancelled"}
    assert Task.objects.count() == 2 * (2 + 3 * len(commits))
    assert_no_leftovers()


@pytest.mark.slow
def test_a_recovery_that_crashes_at_any_commit_happens_once(workers, tmp_path):
    notes = str(tmp_path / "notes")
    commits = workers.run("live", key="whole", notes=notes)
    claimed = commits.index("CLAIM") + 1

    for number, side in [(number, side) for number in (1, 2) for side in SIDES]:
        key = f"{number} {side}"
        workers.run("live", key=key, notes=notes, die=[claimed, "after"])
        task = Task.objects.get(key=key)
        assert task.status == "running"
        recovered = workers.run("recover", die=[number, side])
        assert recovered[0] == "RECOVER"
        workers.run("recover")
        task.refresh_from_db()
        assert (task.status, task.attempts.filter(outcome="lost").count()) == ("queued", 1), key
        # Each recovery that was killed was a worker too, without a task.
        assert not Worker.objects.filter(ended_at=None).exists()
    workers.run("live", key="last", notes=notes)

    assert set(Task.objects.values_list("status", flat=True)) == {"succeeded"}
    assert_no_leftovers()
