"""Run the benchmarks: `python -m benchmarks [name …]`, a table for people and `--json FILE` for programs."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
django.setup()

from django.core.management import call_command  # noqa: E402 - Django must be set up first
from django.db import connection  # noqa: E402

from benchmarks import beside, claims, dashboard, floors, measures, prune, waiting  # noqa: E402


@dataclass(frozen=True)
class Row:
    """A measure, what the design asks of it, and what it is made of.

    Attributes:
        floor: the least that the design allows.
        commits: how many durable commits one unit takes, to compare it with the database's own floor; 0 when a commit
            is not what it is made of.
        clients: how many connections make them.
    """

    name: str
    unit: str
    measure: Callable[[], Any]
    floor: str
    commits: int = 0
    clients: int = 1


ROWS = [
    Row("drain one-step tasks", "tasks/s", measures.one_step_tasks_per_second, "≥ 800", commits=2, clients=2),
    Row("five-step tasks, every output kept", "steps/s", measures.steps_per_second, "≥ 1,500", commits=1, clients=2),
    Row("one task of 100 steps", "ms/step", measures.milliseconds_per_step, "≤ 0.8", commits=1),
    Row(
        f"{beside.STEPS} async steps beside each other: under a rate, without one; claims under the rate",
        "times `each` (2), claims",
        beside.beside_to_each,
        "≥ 1 (2), 1",
    ),
    Row("enqueue to first line, idle", "ms p50, p95", measures.first_line_latency, "≤ 8, 20", commits=2),
    Row("enqueue() in process", "ms p50, p95", measures.enqueue_milliseconds, "≤ 1.5 (p50)", commits=1),
    Row("POST /api/tasks, 20 clients", "ms p50, p95", measures.open_post_milliseconds, "≤ 100 (p95)"),
    Row("the same, signed in by session", "ms p50, p95", measures.signed_in_post_milliseconds, "-"),
    Row(
        f"{waiting.WAITERS} callers wait: a task's end to its answer; an ordinary call beside them",
        "ms p50, p95; times alone",
        waiting.waiting_milliseconds,
        "≤ 50 (p95), ≤ 1.5",
    ),
    Row("kill -9 to running again", "s", measures.recovery_seconds, "≤ 2"),
    Row(
        "claims beside 1M ended and 100k held back by keys, a limit, a pause, a throttle",
        "times the empty table",
        claims.claims_beside_held_back,
        "≤ 1.5",
    ),
    Row(
        "drain while history is pruned: by the workers, by `manage.py prune`; rows pruned meanwhile",
        "times without (2), rows/s (2)",
        prune.drains_beside_pruning,
        "≥ 0.8 (first)",
    ),
    Row("dashboard beside 1M tasks", "ms slowest page, median", dashboard.page_milliseconds, "≤ 300 (slowest)"),
]


@dataclass(frozen=True)
class Result:
    """What came out."""

    name: str
    unit: str
    figures: tuple[float, ...]
    design_floor: str
    commits_per_second: float
    times_the_commit_floor: float | None


def main() -> int:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of the measures to take; all of them by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file too")
    parser.add_argument("--ended", type=int, default=claims.ENDED, metavar="N", help="ended tasks beside claims")
    parser.add_argument("--history", type=int, default=prune.SIZE, metavar="N", help="rows of the history to be pruned")
    parser.add_argument("--size", type=int, default=dashboard.SIZE, metavar="N", help="tasks beside the dashboard")
    arguments = parser.parse_args()
    claims.ENDED, dashboard.SIZE, prune.SIZE = arguments.ended, arguments.size, arguments.history
    call_command("migrate", verbosity=0)
    chosen = [row for row in ROWS if not arguments.names or any(name in row.name for name in arguments.names)]
    print(machine(), end="\n\n")
    print("| work | figure | unit | design | commits/s here (clients) | times the commit floor |")
    print("|---|---|---|---|---|---|")
    results = [report(row) for row in chosen]
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")
    return 0 if results else 1


def report(row: Row) -> Result:
    """Take one measure between two measures of the floor, and print its line."""
    emptied()
    before = floors.commits_per_second(clients=row.clients)
    taken = row.measure()
    commits = (before + floors.commits_per_second(clients=row.clients)) / 2
    figures = taken if isinstance(taken, tuple) else (taken,)
    result = Result(row.name, row.unit, figures, row.floor, commits, ratio(row, figures[0], commits))
    shown = ", ".join(f"{figure:,.0f}" if figure >= 100 else f"{figure:.2f}" for figure in figures)
    times = f"{result.times_the_commit_floor:.2f}" if result.times_the_commit_floor else "-"
    print(f"| {row.name} | {shown} | {row.unit} | {row.floor} | {commits:,.0f} ({row.clients}) | {times} |", flush=True)
    return result


def ratio(row: Row, figure: float, commits: float) -> float | None:
    """How many times as long it takes as its bare commits would."""
    if not row.commits:
        return None
    bare_seconds = row.commits / commits
    return (1 / figure if row.unit.endswith("/s") else figure / 1000) / bare_seconds


def emptied() -> None:
    """Start each measure from empty tables."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE taskqueue_task, taskqueue_worker CASCADE")


def machine() -> str:
    """What it ran on."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT version(), current_setting('fsync'), current_setting('synchronous_commit')")
        version, fsync, synchronous = cursor.fetchone()
    server = " ".join(version.split()[:2])
    return (
        f"{os.cpu_count()} CPUs ({platform.machine()}), Python {platform.python_version()}, "
        f"{server} (fsync {fsync}, synchronous_commit {synchronous}), two worker processes"
    )


if __name__ == "__main__":
    sys.exit(main())
