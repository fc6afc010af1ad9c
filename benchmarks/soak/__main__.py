"""Run a mix of all features for a chosen time, and print what could grow: the lines should stay flat.

It prints throughput, dead rows, sizes of tables and indexes per thousand ended tasks, and memory of the workers.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count

import django
import psutil

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.soak.settings"
django.setup()

from django.core.management import call_command  # noqa: E402 - Django must be set up first
from django.db import connection, transaction  # noqa: E402
from django.db.models.functions import Now  # noqa: E402

from benchmarks.processes import started, wait_for  # noqa: E402
from benchmarks.soak.pipelines import mix, mix_debounced, short, wait_until_cancelled  # noqa: E402
from taskqueue.engine.tasks import control  # noqa: E402
from taskqueue.models import Task, Worker  # noqa: E402

BACKLOG = 200
AT_ONCE = 20
TABLES = """
SELECT coalesce(sum(n_live_tup), 0), coalesce(sum(n_dead_tup), 0), sum(pg_table_size(relid)),
    sum(pg_indexes_size(relid))
FROM pg_stat_user_tables WHERE relname LIKE 'taskqueue%'
"""
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Sample:
    """The measurements at one moment."""

    seconds: float
    ended: int
    live: int
    dead: int
    tables: int
    indexes: int
    memory: int

    @classmethod
    def take(cls, started_at: float, worker: int) -> Sample:
        with connection.cursor() as cursor:
            cursor.execute(TABLES)
            live, dead, tables, indexes = cursor.fetchone()
        children = psutil.Process(worker).children(recursive=True)
        memory = sum(child.memory_info().rss for child in children if child.is_running())
        ended = Task.objects.filter(finished_at__isnull=False).count()
        return cls(time.monotonic() - started_at, ended, int(live), int(dead), int(tables), int(indexes), memory)

    def line(self, former: Sample) -> str:
        """A line of the table, with the throughput since the former sample."""
        rate = (self.ended - former.ended) / max(self.seconds - former.seconds, 0.001)
        sizes = f"{self.tables / MEBIBYTE:,.1f} | {self.indexes / MEBIBYTE:,.1f}"
        rows, memory = f"{self.live:,} | {self.dead:,}", f"{self.memory / MEBIBYTE:,.0f}"
        return f"| {self.seconds:,.0f} | {self.ended:,} | {rate:,.0f} | {rows} | {sizes} | {memory} |"


def feed(numbers: Iterator[int]) -> None:
    """Keep some tasks of all kinds queued."""
    if Task.objects.filter(finished_at=None).count() >= BACKLOG:
        return
    with transaction.atomic():
        for number in (next(numbers) for _ in range(AT_ONCE)):
            tenant = f"tenant {number % 7}"
            mix.using(key=f"mix {number}", labels={"tenant": tenant}, priority=number % 60).enqueue(tenant, number)
            short.using(run_at=datetime.now(UTC) + timedelta(seconds=number % 3)).enqueue(number)
            mix_debounced.enqueue(tenant, number)
        wait_until_cancelled.enqueue(number)
    for task in Task.objects.filter(pipeline="soak/wait-until-cancelled", status="waiting")[:AT_ONCE]:
        control.cancel(task.pk, reason="The soak test ends its wait.")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--every", type=float, default=15, metavar="SECONDS", help="between two samples")
    chosen = parser.parse_args()
    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE taskqueue_task, taskqueue_worker, taskqueue_event CASCADE")
    with started(sys.executable, "manage.py", "worker", DJANGO_SETTINGS_MODULE="benchmarks.soak.settings") as worker:
        wait_for(
            lambda: Worker.objects.filter(ended_at=None, heartbeat_at__gt=Now() - timedelta(seconds=10)).count() > 1
        )
        samples = soak(chosen.minutes * 60, chosen.every, worker.pid)
    return report(samples)


def soak(seconds: float, every: float, worker: int) -> list[Sample]:
    """Feed and take samples for so many seconds."""
    started_at, numbers = time.monotonic(), count()
    print("| s | tasks ended | per s | live rows | dead rows | tables MiB | indexes MiB | workers MiB |")
    print("|---|---|---|---|---|---|---|---|")
    samples = [Sample.take(started_at, worker)]
    while time.monotonic() - started_at < seconds:
        feed(numbers)
        time.sleep(0.05)
        if time.monotonic() - started_at >= len(samples) * every:
            samples.append(Sample.take(started_at, worker))
            print(samples[-1].line(samples[-2]), flush=True)
    return samples


def report(samples: list[Sample]) -> int:
    """Print the first and the last third. The exit code is 1 if a task failed."""
    third = max(len(samples) // 3, 1)
    early, late = samples[: third + 1], samples[-third - 1 :]

    def throughput(part: list[Sample]) -> float:
        return (part[-1].ended - part[0].ended) / max(part[-1].seconds - part[0].seconds, 0.001)

    def per_thousand(sample: Sample) -> float:
        return (sample.tables + sample.indexes) / MEBIBYTE / max(sample.ended / 1000, 0.001)

    failed = Task.objects.filter(status="failed").count()
    print(f"\ntasks per second: {throughput(early):,.0f} in the first third, {throughput(late):,.0f} in the last")
    print(f"MiB for each thousand ended tasks: {per_thousand(early[-1]):.2f}, then {per_thousand(late[-1]):.2f}")
    print(f"memory of the workers, MiB: {early[-1].memory / MEBIBYTE:,.0f}, then {late[-1].memory / MEBIBYTE:,.0f}")
    print(f"failed: {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
