"""Run tasks of five steps over two clusters, while workers are killed and the database is restarted.

A subscription calls a receiver at the end of each task. `python -m tests.chaos --tasks 10000`. The exit code is 1 if a
task or a delivery was lost, or an effect doubled.
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
from tests.support.receivers import Receiver, receiver

CHECKS = {
    "tasks not succeeded": "SELECT count(*) FROM taskqueue_task WHERE status <> 'succeeded'",
    "atomic effects missing": (
        "SELECT count(*) FROM taskqueue_task task CROSS JOIN (VALUES (1), (2)) AS known (number) "
        "WHERE task.pipeline_id LIKE 'chaos/%' AND NOT EXISTS "
        "(SELECT FROM chaos_effect WHERE chaos_effect.task = task.id AND chaos_effect.number = known.number)"
    ),
    "atomic effects doubled": (
        "SELECT count(*) FROM (SELECT FROM chaos_effect GROUP BY task, number HAVING count(*) > 1) AS doubled"
    ),
    "steps not recorded once": (
        "SELECT count(*) FROM (SELECT step.task_id FROM taskqueue_step step "
        "JOIN taskqueue_task task ON task.id = step.task_id AND task.pipeline_id LIKE 'chaos/%' "
        "WHERE step.status = 'succeeded' GROUP BY step.task_id "
        "HAVING count(*) <> 5 OR count(DISTINCT step.key) <> 5) AS others"
    ),
    "results that are not what was recorded": (
        "SELECT count(*) FROM taskqueue_task task WHERE task.pipeline_id LIKE 'chaos/%' AND result IS DISTINCT FROM ("
        "SELECT jsonb_agg(output ORDER BY output) "
        "FROM taskqueue_step step WHERE step.task_id = task.id AND step.name LIKE 'draw%')"
    ),
}
PIPELINES = ("chaos/five-steps", "chaos/five-async-steps")
LOST = (
    "SELECT attempt.worker_id, extract(epoch FROM attempt.finished_at)::float FROM taskqueue_attempt attempt "
    "WHERE attempt.outcome = 'lost' AND attempt.error_type LIKE 'WorkerLost%'"
)


@dataclass
class ChaosRun:
    """A run, and what it did to the clusters.

    Attributes:
        killed: when each worker was killed, by the id of its row.
        outages: the start and the end of each restart of the database.
    """

    server: Server
    tasks: int
    threads: int
    async_slots: int
    kill_every: float
    restart_every: float
    seed: int
    folder: Path
    killed: dict[int, float] = field(default_factory=dict)
    outages: list[tuple[float, float]] = field(default_factory=list)
    kills: int = 0
    commands: list[Any] = field(default_factory=list)

    def run(self, timeout: float) -> float:
        """Run all tasks. Returns the seconds until all have ended."""
        from tests.support.processes.worker_command import WorkerCommand

        environment = {"DJANGO_SETTINGS_MODULE": "tests.chaos.settings", "DATABASE_URL": self.server.url}
        enqueue(self.tasks)
        started_at = time.monotonic()
        try:
            self.commands = [
                WorkerCommand(self.folder, threads=self.threads, async_slots=self.async_slots, environment=environment)
                for _ in range(2)
            ]
            self.disturb(started_at + timeout)
            seconds = time.monotonic() - started_at
            for command in self.commands:
                command.stop()
        finally:
            for command in self.commands:
                command.kill_all()
        return seconds

    def disturb(self, deadline: float) -> None:
        """Kill and restart until all tasks and deliveries have ended."""
        chance = random.Random(self.seed)  # noqa: S311 - repeatable by its seed
        kill_at, restart_at = time.monotonic() + 3, time.monotonic() + self.restart_every
        while time.monotonic() < deadline and self.unfinished() != 0:
            if time.monotonic() >= kill_at:
                kill_at = time.monotonic() + self.kill_every
                self.kill(chance)
            if time.monotonic() >= restart_at:
                restart_at = time.monotonic() + self.restart_every
                self.restart()
            time.sleep(0.1)

    def unfinished(self) -> int | None:
        from django.db.models import Q

        from taskqueue.models import Task

        is_pending = Q(finished_at=None) | Q(completion_pending_at__isnull=False)  # with an end that is not delivered
        return query(lambda: Task.objects.filter(is_pending).count())

    def kill(self, chance: random.Random) -> None:
        from taskqueue.models import Worker

        alive = [pid for command in self.commands for pid in query(command.workers) or []]
        if not alive:
            return
        victim = chance.choice(alive)
        rows = query(lambda: list(Worker.objects.filter(ended_at=None, pid=victim).values_list("pk", flat=True)))
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            self.kills += 1
            self.killed |= dict.fromkeys(rows or [], time.time())

    def restart(self) -> None:
        """Restart the database, in turn by a fast shutdown and by a crash."""
        started_at = time.time()
        if len(self.outages) % 2:
            self.server.crash()
        else:
            self.server.stop_fast()
        self.server.start()
        self.outages.append((started_at, time.time()))

    def recoveries(self) -> list[tuple[float, bool]]:
        """For each killed worker: seconds until its task was queued again, and whether the database was up."""
        found = []
        for worker, at in self.server.ask(LOST):
            if worker in self.killed:
                died, came = self.killed[int(str(worker))], float(str(at))
                away = any(begin < came and died < end + STARTUP_GRACE for begin, end in self.outages)
                found.append((came - died, not away))
        return found


STARTUP_GRACE = 6.0
"""Seconds after a start of the database in which workers take their locks again, and none counts as dead."""


def query(question: Callable[[], Any]) -> Any:
    """Return the answer of the database; None when it does not answer."""
    from django import db

    try:
        return question()
    except db.Error:
        db.connections.close_all()
        return None


def enqueue(tasks: int) -> None:
    from django.db import transaction

    from taskqueue.engine.enqueue import enqueue as enqueueing

    with transaction.atomic():
        for number in range(tasks):
            enqueueing.enqueue(PIPELINES[number % 2], {"number": number})


def subscribe(server: Receiver) -> None:
    from taskqueue.models import Subscription

    Subscription.objects.create(address=server.address)


def report(chaos: ChaosRun, seconds: float, received: Receiver) -> int:
    """Print the results. Returns the number of errors."""
    found = {name: int(str(chaos.server.ask(question)[0][0])) for name, question in CHECKS.items()}
    found |= delivery_errors(chaos, received)
    waits = sorted(wait for wait, _ in chaos.recoveries())
    calm = sorted(wait for wait, is_calm in chaos.recoveries() if is_calm)
    ((attempts,),) = chaos.server.ask("SELECT count(*) FROM taskqueue_attempt WHERE outcome = 'lost'")
    print(f"tasks run                {chaos.tasks:,} of five steps, in {seconds:.0f} s ({chaos.tasks / seconds:.0f}/s)")
    print(f"kills survived           {chaos.kills}")
    print(f"restarts survived        {len(chaos.outages)}, in turn fast and immediate")
    print(f"attempts lost            {attempts}")
    print(f"deliveries               {chaos.tasks:,}, in {len(received.requests):,} requests")
    for name, waited in (("with the database there", calm), ("in all", waits)):
        if waited:
            p50, most = statistics.median(waited), waited[-1]
            print(f"queued again after kill  p50 {p50:.2f} s, at most {most:.2f} s ({len(waited)}, {name})")
    for name, number in found.items():
        print(f"{name:<40} {number}")
    return sum(found.values())


def delivery_errors(chaos: ChaosRun, received: Receiver) -> dict[str, int]:
    """How many ends were not delivered, or under several ids, by which a receiver could not tell a repetition."""
    ids: dict[str, set[str]] = {}
    for request in received.requests:
        ids.setdefault(request.event["data"]["task"], set()).add(request.headers["webhook-id"])
    ended = {
        str(task) for (task,) in chaos.server.ask("SELECT id FROM taskqueue_task WHERE pipeline_id LIKE 'chaos/%'")
    }
    return {
        "ends not delivered": len(ended - ids.keys()),
        "ends delivered under several ids": sum(len(each) > 1 for each in ids.values()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=3, metavar="N", help="of each worker process")
    parser.add_argument("--async-slots", type=int, default=20, metavar="N", help="of each worker process")
    parser.add_argument("--kill-every", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--restart-every", type=float, default=20.0, metavar="SECONDS")
    parser.add_argument("--timeout", type=float, default=1_800, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    with own_server() as server, tempfile.TemporaryDirectory() as folder, receiver() as receiving:
        os.environ.update(DEBUG="true", DATABASE_URL=server.url, DJANGO_SETTINGS_MODULE="tests.chaos.settings")
        prepare(server)
        subscribe(receiving)
        chaos = ChaosRun(
            server,
            chosen.tasks,
            chosen.threads,
            chosen.async_slots,
            chosen.kill_every,
            chosen.restart_every,
            chosen.seed,
            Path(folder),
        )
        return 1 if report(chaos, chaos.run(chosen.timeout), receiving) else 0


def prepare(server: Server) -> None:
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    from taskqueue.engine.catalog.sync import sync_pipelines

    sync_pipelines()
    server.do("CREATE TABLE chaos_effect (task uuid, number int)")


if __name__ == "__main__":
    sys.exit(main())
