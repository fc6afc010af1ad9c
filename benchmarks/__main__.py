"""Run the benchmarks: `python -m benchmarks [name …]` prints a table, and `--json FILE` writes the figures."""

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

from benchmarks import (  # noqa: E402
    claims,
    commit_rate,
    dashboard,
    http_requests,
    many_at_once,
    measures,
    parallel_async,
    prune,
    waiting,
)


@dataclass(frozen=True)
class Row:
    """A measure, its target, and the commits that it consists of.

    Attributes:
        target: the figure that the design requires.
        commits: the durable commits of one unit, to compare it with the commits per second of the database; 0 if the
            measure does not consist of commits.
        clients: how many connections make the commits.
    """

    name: str
    unit: str
    measure: Callable[[], Any]
    target: str
    commits: int = 0
    clients: int = 1


ROWS = [
    Row(
        "one-step tasks from a full queue", "tasks/s", measures.one_step_tasks_per_second, "≥ 800", commits=2, clients=2
    ),
    Row(
        "five-step tasks, every output recorded", "steps/s", measures.steps_per_second, "≥ 1,500", commits=1, clients=2
    ),
    Row(
        f"`each` over {measures.PARALLEL_STEPS:,} steps with limit=8",
        "steps/s",
        measures.parallel_steps_per_second,
        "≥ 600",
        commits=2,
        clients=2,
    ),
    Row("bulk enqueue of 1,000 tasks", "tasks/s, times bare rows", measures.bulk_enqueue, "≥ 10,000"),
    Row("one task of 100 steps", "ms/step", measures.milliseconds_per_step, "≤ 0.8", commits=1),
    Row(
        f"{parallel_async.STEPS} parallel async steps: under a rate, without one; claims under the rate",
        "times `each` (2), claims",
        parallel_async.speed_relative_to_each,
        "≥ 1 (2), 1",
    ),
    Row(
        "200 plain tasks of one second: by default; with 50 threads a process",
        "times the least that so many threads need",
        lambda: (many_at_once.plain_tasks(None), many_at_once.plain_tasks(50)),
        "≤ 1.1, 1.3",
    ),
    Row("enqueue to first line, idle", "ms p50, p95", measures.first_line_latency, "≤ 8, 20", commits=2),
    Row("enqueue() in process", "ms p50, p95", measures.enqueue_milliseconds, "≤ 1.5 (p50)", commits=1),
    Row("POST /api/tasks, 20 clients", "ms p50, p95", measures.open_post_milliseconds, "≤ 100 (p95)"),
    Row("the same, signed in by session", "ms p50, p95", measures.signed_in_post_milliseconds, "-"),
    Row(
        "POST with a token, 20 clients: its p95 relative to that of a bare DRF view that inserts a row",
        "times the bare view; ms p50, p95",
        http_requests.post_relative_to_bare_view,
        "≤ 1.6",
    ),
    Row(
        "POST with a token and one key that is taken, 20 clients",
        "ms p50, p95",
        http_requests.hot_key_milliseconds,
        "-",
    ),
    Row(
        "1,000 async tasks of one second, by default; relative to the least for so many slots",
        "s; times the least",
        many_at_once.async_tasks,
        "≤ 12",
    ),
    Row(
        "GET status with a token, relative to a bare DRF view that reads a row",
        "times the bare view; ms p50, p95",
        http_requests.status_relative_to_bare_read,
        "≤ 3",
    ),
    Row(
        f"{waiting.WAITERS} callers wait: a task's end to its answer; an ordinary call meanwhile",
        "ms p50, p95; times alone",
        waiting.waiting_milliseconds,
        "≤ 50 (p95), ≤ 1.5",
    ),
    Row("kill -9 to running again", "s", measures.recovery_seconds, "≤ 2"),
    Row(
        "claims with 1M ended tasks and 100k blocked by keys, a limit, a pause, a throttle",
        "times the empty table",
        claims.claims_with_backlog,
        "≤ 1.5",
    ),
    Row(
        "full queue while history is pruned: by the workers, by `manage.py prune`; rows pruned meanwhile",
        "times without (2), rows/s (2)",
        prune.speed_while_pruning,
        "≥ 0.8 (first)",
    ),
    Row("dashboard with 1M tasks", "ms slowest page, median", dashboard.page_milliseconds, "≤ 300 (slowest)"),
]


@dataclass(frozen=True)
class Result:
    """The figures of one measure."""

    name: str
    unit: str
    figures: tuple[float, ...]
    design_target: str
    commits_per_second: float
    relative_to_commits: float | None


def main() -> int:
    """Take the chosen measures and print them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of the measures to take; all of them by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file too")
    parser.add_argument("--ended", type=int, default=claims.ENDED, metavar="N", help="ended tasks for claims")
    parser.add_argument(
        "--history", type=int, default=prune.SIZE, metavar="N", help="rows of the history that is pruned"
    )
    parser.add_argument("--size", type=int, default=dashboard.SIZE, metavar="N", help="tasks for the dashboard")
    arguments = parser.parse_args()
    claims.ENDED, dashboard.SIZE, prune.SIZE = arguments.ended, arguments.size, arguments.history
    call_command("migrate", verbosity=0)
    chosen = [row for row in ROWS if not arguments.names or any(name in row.name for name in arguments.names)]
    print(machine(), end="\n\n")
    print("| work | figure | unit | target | commits/s here (clients) | relative to its commits |")
    print("|---|---|---|---|---|---|")
    results = [report(row) for row in chosen]
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")
    return 0 if results else 1


def report(row: Row) -> Result:
    """Take one measure between two measures of the commit rate, and print its line."""
    empty_tables()
    before = commit_rate.commits_per_second(clients=row.clients)
    measured = row.measure()
    commits = (before + commit_rate.commits_per_second(clients=row.clients)) / 2
    figures = measured if isinstance(measured, tuple) else (measured,)
    result = Result(row.name, row.unit, figures, row.target, commits, ratio(row, figures[0], commits))
    text = ", ".join(f"{figure:,.0f}" if figure >= 100 else f"{figure:.2f}" for figure in figures)
    times = f"{result.relative_to_commits:.2f}" if result.relative_to_commits else "-"
    print(f"| {row.name} | {text} | {row.unit} | {row.target} | {commits:,.0f} ({row.clients}) | {times} |", flush=True)
    return result


def ratio(row: Row, figure: float, commits: float) -> float | None:
    """How many times as long it takes as its commits alone."""
    if not row.commits:
        return None
    bare_seconds = row.commits / commits
    return (1 / figure if row.unit.endswith("/s") else figure / 1000) / bare_seconds


def empty_tables() -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE taskqueue_task, taskqueue_worker CASCADE")


def machine() -> str:
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
