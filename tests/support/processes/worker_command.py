"""A real `manage.py worker` on the test's database, and its processes as the kernel sees them."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from django.db import connection

from taskqueue.engine.enqueue import enqueue
from taskqueue.models import Task, Worker
from taskqueue.states import TaskStatus
from tests.support.processes.processes import ROOT
from tests.support.waiting import WAIT_TIMEOUT, eventually


class Notes:
    """The file to which the steps of `pipelines` write."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notes"
        self.path.touch()

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.path.read_text().splitlines()]

    def pids_that_began(self, number: int) -> list[int]:
        """The processes that began this step, in order."""
        return [int(words[2]) for words in self.lines() if words[:2] == ["begin", str(number)]]

    def count(self, word: str) -> Counter[int]:
        """How often each step began or ended."""
        return Counter(int(words[1]) for words in self.lines() if words[0] == word)

    def release_steps(self) -> None:
        """Let the waiting steps continue."""
        self.path.with_name("released").touch()


class WorkerCommand:
    """One `manage.py worker`, in a session of its own."""

    def __init__(
        self,
        folder: Path,
        *,
        processes: int = 2,
        threads: int = 1,
        async_slots: int = 0,
        environment: Mapping[str, str] | None = None,
        within: Sequence[str] = (),
        reload: bool = False,
        arguments: Sequence[str] = (),
        **settings: object,
    ) -> None:
        self.log = folder / f"worker-{len(list(folder.glob('worker-*')))}.log"
        env = {
            **os.environ,
            "DEBUG": "true",
            "DJANGO_SETTINGS_MODULE": "tests.support.processes.settings",
            "WORKER_TEST_DATABASE": str(connection.settings_dict["NAME"]),
            **{f"WORKER_TEST_{name.upper()}": str(value) for name, value in settings.items()},
            **(environment or {}),
        }
        options = ["--processes", str(processes), "--threads", str(threads), "--async-slots", str(async_slots)]
        options += [*["--reload"] * reload, *arguments]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*within, sys.executable, "manage.py", "worker", *options],
                cwd=ROOT,
                env=env,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.processes, self.rows = processes, processes * (threads + bool(async_slots))
        self._reloads = reload
        self._seen: set[int] = set()

    def output(self) -> str:
        """All that it has printed."""
        return self.log.read_text()

    def ready(self) -> "WorkerCommand":
        """Wait until each thread and each event loop of each worker process is registered, and all processes run."""
        eventually(lambda: len(self.threads_registered()) == self.rows and self._has_all(), details=self.output)
        return self

    def _has_all(self) -> bool:
        """Whether the sentinel has started the processes that come after the workers: the monitor and the notifier."""
        return len(children_of(self.sentinel())) == self.processes + 2

    def sentinel(self) -> int:
        """The process id of the sentinel; 0 when there is none at the moment."""
        above = only_child_of(self.process.pid) if self._reloads else self.process.pid
        return only_child_of(above) if above else 0

    def workers(self) -> list[int]:
        """The registered worker processes that are alive."""
        return list(dict.fromkeys(self.threads_registered()))

    def kill_a_worker(self) -> None:
        """Kill a worker process as soon as there is one: after an earlier kill the pool may just be starting again."""
        pid = eventually(self.workers, details=self.output)[0]
        with suppress(ProcessLookupError):  # the sentinel was faster
            os.kill(pid, signal.SIGKILL)

    def threads_registered(self) -> list[int]:
        """The living worker processes, as often as each has registered threads."""
        alive = set(children_of(self.sentinel()))
        rows = Worker.objects.filter(ended_at=None, pid__in=alive).order_by("id")
        return [pid for pid in rows.values_list("pid", flat=True) if pid in alive]

    def monitor_and_notifier(self) -> tuple[int, int]:
        """The two other children of the sentinel, which start after the workers in this order."""
        workers = self.workers()
        monitor, notifier = (pid for pid in children_of(self.sentinel()) if pid not in workers)
        return monitor, notifier

    def living_processes(self) -> set[int]:
        """Every living process of the command."""
        self._seen |= {pid for pid in every_process() if session_of(pid) == self.process.pid}
        return {pid for pid in self._seen if is_alive(pid)}

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal to the main process. Returns the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Return the exit code, once it has ended."""
        try:
            return self.process.wait(WAIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not ended within {WAIT_TIMEOUT} s\n{self.output()}") from None

    def kill_all(self) -> None:
        """Kill every process of the command."""
        for pid in self.living_processes():
            with suppress(ProcessLookupError):  # it has ended just now
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def enqueue_walk(notes: Notes, *, wait_in: int = 0) -> Task:
    return enqueue.enqueue("tests/walk", {"notes": str(notes.path), "wait_in": wait_in})


def finished(task: Task) -> bool:
    task.refresh_from_db()
    return task.status == "succeeded"


def every_process() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def stat_of(pid: int) -> list[str]:
    """State, parent, group, session and so on; empty for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def is_alive(pid: int) -> bool:
    """Whether it is running; a zombie is not."""
    return stat_of(pid)[:1] not in ([], ["Z"], ["X"])


def children_of(pid: int) -> list[int]:
    """Living children, oldest first. The kernel's own list of children may omit one while another ends."""
    found = [(stat, child) for child in every_process() if (stat := stat_of(child))[1:2] == [str(pid)]]
    return [child for stat, child in sorted(found, key=_started) if stat[0] not in ("Z", "X")]


def _started(found: tuple[list[str], int]) -> tuple[int, int]:
    """When the process was started, in clock ticks since boot (proc(5), field 22), and its process id."""
    stat, pid = found
    return int(stat[19]), pid


def only_child_of(pid: int) -> int:
    """The oldest living child; 0 when there is none at the moment."""
    return next(iter(children_of(pid)), 0)


def session_of(pid: int) -> int:
    return int((stat_of(pid) or ["", "", "", "0"])[3])


def manage(*words: str, environment: dict[str, str]) -> None:
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.support.processes.settings", **environment}
    done = subprocess.run([sys.executable, "manage.py", *words], cwd=ROOT, env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def all_done():
    return not Task.objects.exclude(status="succeeded").exists()


def running() -> int:
    """How many tasks are executing."""
    return Task.objects.filter(status=TaskStatus.RUNNING).count()


def workers_of(tasks):
    return set(Task.objects.filter(pk__in=[task.pk for task in tasks]).values_list("worker", flat=True))
