"""Worker processes that kill themselves at a chosen commit: `python -m tests.support.processes.crashing_worker`.

Reads orders, one line of JSON each. A process is forked for each, which is a worker with a heart and connections of its
own, and ends by SIGKILL at its moment, or by itself when nothing is left to do. The answer is a line of JSON too.
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
from taskqueue.pool.claimed_tasks import answer, keeper  # noqa: E402
from taskqueue.testing.deaths import WRITES  # noqa: E402

PATIENCE = 30.0
NAMES = sorted(
    (
        (name, text)
        for name, text in vars(sql).items()
        if isinstance(text, str) and WRITES.search(text) and name != "NEXT"
    ),
    key=lambda each: -len(each[1]),
)


class Fate:
    """Counts this process's commits, tells what each is, and kills the process at one of them."""

    def __init__(self, die: list[Any] | None, tell: Callable[[str], None]) -> None:
        self.die = tuple(die or (0, ""))
        self.tell = tell
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
        """The end of a transaction."""
        wrote, self.wrote = self.wrote, []
        self._around("+".join(wrote), self.commit)

    def _around(self, name: str, do: Callable[[], Any]) -> Any:
        self.number += 1
        self.tell(name)
        if self.die == (self.number, "before"):
            kill_me()
        if self.die == (self.number, "inside"):
            self.database.ensure_connection()
            self.database.connection.wait = die_when_sent(self.database.connection)
        done = do()
        if self.die == (self.number, "after"):
            kill_me()
        return done


def die_when_sent(connection: psycopg.Connection[Any]) -> Callable[..., Any]:
    """In place of waiting for an answer: see that the question is on its way, and die."""

    def wait(generator: Any, *_: Any, **__: Any) -> Any:
        next(generator)
        while connection.pgconn.flush():
            pass
        kill_me()

    connection.prepare_threshold = None  # else a first question only asks that another one be prepared
    return wait


def kill_me() -> None:
    """Nothing of this process runs after this."""
    os.kill(os.getpid(), signal.SIGKILL)


def finish_everything() -> None:
    """Be a worker until no task is left that could go on by itself."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        due = dispatch.look(1)
        if due.claimable or due.dead or due.chores or due.next_due_in == timedelta(0):
            answer()
        elif (
            not Task.objects.filter(Q(finished_at=None) | Q(completion_pending_at__isnull=False))
            .exclude(waits_for_an_hour())
            .exists()
        ):
            return
        else:
            time.sleep(0.002)
    raise TimeoutError(list(Task.objects.filter(finished_at=None).values("pipeline", "status", "key", "due_at")))


def waits_for_an_hour() -> Q:
    """The tasks that only a cancel ends."""
    return Q(pipeline="tests/long-wait", status="waiting")


def obey(order: dict[str, Any], tell: Callable[[str], None]) -> None:
    """What a forked process does."""
    keeper.cluster = "mortals"
    keeper.heart()
    if order["do"] != "recover":
        finish_everything()
    Fate(order.get("die"), tell)
    match order["do"]:
        case "live":
            payload = {"walk": {"notes": order["notes"]}, "name": order["key"]}
            enqueue.enqueue("tests/life", payload, options=options.Options(key=order["key"]))
            finish_everything()
        case "enqueue":
            enqueue.enqueue("tests/long-wait", {"name": order["key"]}, options=options.Options(key=order["key"]))
            finish_everything()
        case "cancel":
            control.cancel(Task.objects.get(key=order["key"]).pk)
            finish_everything()
        case "recover":
            dispatch.run_due(1)
    keeper.stop("stopped")


def be_a_worker(order: dict[str, Any], writing: int) -> None:
    """What a forked process does until it ends; it tells of its commits through a pipe."""

    def tell(name: str) -> None:
        os.write(writing, f"{name}\n".encode())

    try:
        obey(order, tell)
    except BaseException:  # noqa: BLE001 - the process ends here, whatever it was
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def serve() -> None:
    """Fork a process for each order, and tell how it ended and what it had committed, or was about to."""
    vars(dispatch)["SETTLING"] = timedelta(0)  # the database may have started a moment ago
    for line in sys.stdin:
        connections.close_all()
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            be_a_worker(json.loads(line), writing)
        os.close(writing)
        with os.fdopen(reading) as told:
            names = told.read().split("\n")[:-1]
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status), "commits": names}), flush=True)  # noqa: T201


if __name__ == "__main__":
    serve()
