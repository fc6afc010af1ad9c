"""The drill: tasks of five steps over two clusters, while workers are killed and the database is restarted.

`python -m tests.chaos --tasks 10000`. It ends with code 1 if a task was lost, or an effect doubled.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.processes.postgres import Server, own_server

CHECKS = {
    "tasks not succeeded": "SELECT count(*) FROM taskqueue_task WHERE status <> 'succeeded'",
    "atomic effects missing": (
        "SELECT count(*) FROM taskqueue_task task CROSS JOIN (VALUES (1), (2)) AS known (number) WHERE NOT EXISTS "
        "(SELECT FROM drill_effect WHERE drill_effect.task = task.id AND drill_effect.number = known.number)"
    ),
    "atomic effects doubled": (
        "SELECT count(*) FROM (SELECT FROM drill_effect GROUP BY task, number HAVING count(*) > 1) AS doubled"
    ),
    "steps not recorded once": (
        "SELECT count(*) FROM (SELECT task_id FROM taskqueue_step WHERE status = 'succeeded' GROUP BY task_id "
        "HAVING count(*) <> 5 OR count(DISTINCT key) <> 5) AS others"
    ),
    "results that are not what was recorded": (
        "SELECT count(*) FROM taskqueue_task task WHERE result IS DISTINCT FROM (SELECT jsonb_agg(output ORDER BY id) "
        "FROM taskqueue_step step WHERE step.task_id = task.id AND step.name = 'draw')"
    ),
}
LOST = (
    "SELECT attempt.worker_id, extract(epoch FROM attempt.finished_at)::float FROM taskqueue_attempt attempt "
    "WHERE attempt.outcome = 'lost'"
)


@dataclass
class Drill:
    """What is done to the clusters, and what it was.

    Attributes:
        killed: when each worker was killed, by the id of its row.
        outages: from when to when the database was away.
    """

    server: Server
    tasks: int
    kill_every: float
    restart_every: float
    seed: int
    folder: Path
    killed: dict[int, float] = field(default_factory=dict)
    outages: list[tuple[float, float]] = field(default_factory=list)
    kills: int = 0
    commands: list[Any] = field(default_factory=list)

    def run(self, patience: float) -> float:
        """Run it; how many seconds it took until everything was done."""
        from tests.support.processes.worker_command import WorkerCommand

        environment = {"DJANGO_SETTINGS_MODULE": "tests.chaos.settings", "DATABASE_URL": self.server.url}
        enqueue(self.tasks)
        began = time.monotonic()
        try:
            self.commands = [WorkerCommand(self.folder, environment=environment) for _ in range(2)]
            self.harass(began + patience)
            took = time.monotonic() - began
            for command in self.commands:
                command.stop()
        finally:
            for command in self.commands:
                command.kill_all()
        return took

    def harass(self, deadline: float) -> None:
        """Kill and restart until all tasks have ended."""
        chance = random.Random(self.seed)  # noqa: S311 - a drill that can be repeated
        kill_at, restart_at = time.monotonic() + 3, time.monotonic() + self.restart_every
        while time.monotonic() < deadline and self.left() != 0:
            if time.monotonic() >= kill_at:
                kill_at = time.monotonic() + self.kill_every
                self.kill(chance)
            if time.monotonic() >= restart_at:
                restart_at = time.monotonic() + self.restart_every
                self.restart()
            time.sleep(0.1)

    def left(self) -> int | None:
        """How many tasks have not ended; None when the database does not say."""
        from taskqueue.models import Task

        return asked(lambda: Task.objects.filter(finished_at=None).count())

    def kill(self, chance: random.Random) -> None:
        """End a random worker as the kernel would."""
        from taskqueue.models import Worker

        alive = [pid for command in self.commands for pid in asked(command.workers) or []]
        if not alive:
            return
        victim = chance.choice(alive)
        row = asked(lambda: Worker.objects.filter(ended_at=None, pid=victim).values_list("pk", flat=True).first())
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            self.kills += 1
            if row is not None:
                self.killed[row] = time.time()

    def restart(self) -> None:
        """Stop the database in good order one time, and as after a power cut the next."""
        began = time.time()
        if len(self.outages) % 2:
            self.server.crash()
        else:
            self.server.stop_fast()
        self.server.start()
        self.outages.append((began, time.time()))

    def recoveries(self) -> list[tuple[float, bool]]:
        """How long the task of each killed worker waited until it was queued again; whether the database was there."""
        found = []
        for worker, at in self.server.ask(LOST):
            if worker in self.killed:
                died, came = self.killed[int(str(worker))], float(str(at))
                away = any(begin < came and died < end + SETTLED for begin, end in self.outages)
                found.append((came - died, not away))
        return found


SETTLED = 6.0
"""Seconds after a start of the database in which workers may take their locks again, and nobody is taken for dead."""


def asked(question: Callable[[], Any]) -> Any:
    """What the database answers; None when it does not."""
    from django import db

    try:
        return question()
    except db.Error:
        db.connections.close_all()
        return None


def enqueue(tasks: int) -> None:
    """Make the tasks."""
    from django.db import transaction

    from taskqueue.engine.enqueue import enqueue as enqueueing

    with transaction.atomic():
        for number in range(tasks):
            enqueueing.enqueue("drill/five-steps", {"number": number})


def report(drill: Drill, took: float) -> int:
    """Print what happened; how much of it should not have."""
    found = {name: int(str(drill.server.ask(question)[0][0])) for name, question in CHECKS.items()}
    waits = sorted(wait for wait, _ in drill.recoveries())
    calm = sorted(wait for wait, is_calm in drill.recoveries() if is_calm)
    ((tries,),) = drill.server.ask("SELECT count(*) FROM taskqueue_attempt WHERE outcome = 'lost'")
    print(f"tasks run                {drill.tasks:,} of five steps, in {took:.0f} s ({drill.tasks / took:.0f}/s)")
    print(f"kills survived           {drill.kills}")
    print(f"restarts survived        {len(drill.outages)}, in turn fast and immediate")
    print(f"tries lost               {tries}")
    for name, waited in (("with the database there", calm), ("in all", waits)):
        if waited:
            p50, most = statistics.median(waited), waited[-1]
            print(f"queued again after kill  p50 {p50:.2f} s, at most {most:.2f} s ({len(waited)}, {name})")
    for name, number in found.items():
        print(f"{name:<40} {number}")
    return sum(found.values())


def main() -> int:
    """Run the drill on a database server of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--kill-every", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--restart-every", type=float, default=20.0, metavar="SECONDS")
    parser.add_argument("--patience", type=float, default=1_800, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    with own_server() as server, tempfile.TemporaryDirectory() as folder:
        os.environ.update(DEBUG="true", DATABASE_URL=server.url, DJANGO_SETTINGS_MODULE="tests.chaos.settings")
        prepare(server)
        drill = Drill(server, chosen.tasks, chosen.kill_every, chosen.restart_every, chosen.seed, Path(folder))
        return 1 if report(drill, drill.run(chosen.patience)) else 0


def prepare(server: Server) -> None:
    """Make the tables."""
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    from taskqueue.engine.catalog.sync import sync_pipelines

    sync_pipelines()
    server.do("CREATE TABLE drill_effect (task uuid, number int)")


if __name__ == "__main__":
    sys.exit(main())
