"""Worker processes that kill themselves at a chosen commit: `python -m tests.support.processes.crashing_worker`.

Reads commands, one line of JSON each. Each command runs in a forked process: a worker with its own heartbeat and
connections, which ends by SIGKILL at its commit, or by itself when no work is left. The answer is a line of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.support.processes.settings"
django.setup()

import psycopg  # noqa: E402 - Django must be set up first
from django.db import connections  # noqa: E402
from django.db.models import Q  # noqa: E402

from taskqueue.engine import sql  # noqa: E402
from taskqueue.engine.enqueue import enqueue, options  # noqa: E402
from taskqueue.engine.maintenance import dispatch  # noqa: E402
from taskqueue.engine.tasks import control  # noqa: E402
from taskqueue.models import Task  # noqa: E402
from taskqueue.pool.claimed_tasks import run_claimed_tasks  # noqa: E402
from taskqueue.pool.threads.worker_threads import worker_threads  # noqa: E402
from taskqueue.testing.simulated_crashes import WRITES  # noqa: E402

WAIT_TIMEOUT = 30.0
NAMES = sorted(
    (
        (name, text)
        for name, text in vars(sql).items()
        if isinstance(text, str) and WRITES.search(text) and name != "NEXT_TASKS"
    ),
    key=lambda each: -len(each[1]),
)


class CrashInjector:
    """Counts this process's commits, reports each one, and kills the process at one of them."""

    def __init__(self, die: list[Any] | None, report: Callable[[str], None]) -> None:
        self.die = tuple(die or (0, ""))
        self.report = report
        self.number = 0
        self.wrote: list[str] = []
        self.database = connections["default"]
        self.fetch, self.commit = sql.fetch, self.database.commit
        sql.fetch = self._fetch
        self.database.commit = self._commit  # type: ignore[method-assign]

    def _fetch(self, statement: Any, parameters: Any) -> Any:
        """A statement of the engine, which is a commit when it is not in a transaction."""
        if not WRITES.search(statement):
            return self.fetch(statement, parameters)
        name = next((name for name, text in NAMES if text in statement), "?")
        if self.database.in_atomic_block:
            self.wrote.append(name)
            return self.fetch(statement, parameters)
        return self._around(name, lambda: self.fetch(statement, parameters))

    def _commit(self) -> None:
        wrote, self.wrote = self.wrote, []
        self._around("+".join(wrote), self.commit)

    def _around(self, name: str, execute: Callable[[], Any]) -> Any:
        self.number += 1
        self.report(name)
        if self.die == (self.number, "before"):
            kill_me()
        if self.die == (self.number, "inside"):
            self.database.ensure_connection()
            self.database.connection.wait = die_when_sent(self.database.connection)
        result = execute()
        if self.die == (self.number, "after"):
            kill_me()
        return result


def die_when_sent(connection: psycopg.Connection[Any]) -> Callable[..., Any]:
    """Replace the wait for the answer: send the statement completely, and die."""

    def wait(generator: Any, *_: Any, **__: Any) -> Any:
        next(generator)
        while connection.pgconn.flush():
            pass
        kill_me()

    connection.prepare_threshold = None  # otherwise the first message would only prepare a statement
    return wait


def kill_me() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def finish_everything() -> None:
    """Work until no task is left that could continue by itself."""
    deadline = time.monotonic() + WAIT_TIMEOUT
    while time.monotonic() < deadline:
        due = dispatch.find_due_work(1)
        if due.claimable or due.dead_workers or due.sweeps_due or due.next_due_in == timedelta(0):
            run_claimed_tasks()
        elif (
            not Task.objects.filter(Q(finished_at=None) | Q(completion_pending_at__isnull=False))
            .exclude(waits_for_a_cancel())
            .exists()
        ):
            return
        else:
            time.sleep(0.002)
    raise TimeoutError(list(Task.objects.filter(finished_at=None).values("pipeline", "status", "key", "due_at")))


def waits_for_a_cancel() -> Q:
    return Q(pipeline="tests/long-wait", status="waiting")


def run_command(command: dict[str, Any], report: Callable[[str], None]) -> None:
    worker_threads.first.cluster = "crashing"
    worker_threads.first.current()
    if command["do"] != "recover":
        finish_everything()
    CrashInjector(command.get("die"), report)
    match command["do"]:
        case "live":
            payload = {"walk": {"notes": command["notes"]}, "name": command["key"]}
            enqueue.enqueue("tests/life", payload, options=options.Options(key=command["key"]))
            finish_everything()
        case "enqueue":
            enqueue.enqueue("tests/long-wait", {"name": command["key"]}, options=options.Options(key=command["key"]))
            finish_everything()
        case "cancel":
            control.cancel(Task.objects.get(key=command["key"]).pk)
            finish_everything()
        case "recover":
            dispatch.run_due(1)
    worker_threads.first.stop("stopped")


def be_a_worker(command: dict[str, Any], writing: int) -> None:
    """Run a command in a forked process, and report its commits through a pipe."""

    def report(name: str) -> None:
        os.write(writing, f"{name}\n".encode())

    try:
        run_command(command, report)
    except BaseException:  # noqa: BLE001 - the process ends here, whatever it was
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def serve() -> None:
    """Fork a process for each command, and report its exit code and its commits, including the last attempted one."""
    vars(dispatch)["STARTUP_GRACE"] = timedelta(0)  # the database may have started a moment ago
    for line in sys.stdin:
        connections.close_all()
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            be_a_worker(json.loads(line), writing)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            names = pipe.read().split("\n")[:-1]
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status), "commits": names}), flush=True)  # noqa: T201


if __name__ == "__main__":
    serve()
