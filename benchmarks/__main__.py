"""Run the benchmarks: `python -m benchmarks [name …]` prints a table, and `--json FILE` writes the figures."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
django.setup()

from django.core.management import call_command  # noqa: E402 - Django must be set up first
from django.db import connection  # noqa: E402

import benchmarks  # noqa: E402
from benchmarks import claims, dashboard, prune  # noqa: E402
from benchmarks.figures import Figures  # noqa: E402
from benchmarks.process_usage import Cpu  # noqa: E402
from benchmarks.rows import ROWS, Row  # noqa: E402

HEADER = (
    "| work | unit | ours | floor | ours / floor (lowest to highest round) | wanted | CPU ms: ours | floor "
    "| ours / floor |"
)


@dataclass(frozen=True)
class Result:
    """The figures of one row."""

    name: str
    unit: str
    floor: str
    wanted: str
    ratio: float | None
    figures: Figures


def main() -> int:
    """Take the chosen measures and print them."""
    arguments = parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the started processes end too
    claims.ENDED, dashboard.SIZE, prune.SIZE = arguments.ended, arguments.size, arguments.history
    call_command("migrate", verbosity=0)
    chosen = [row for row in ROWS if not arguments.names or any(name in row.name for name in arguments.names)]
    print(machine(), end="\n\n")
    print(HEADER)
    print("|---" * 9 + "|")
    results = [report(row) for row in chosen]
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")
    return 0 if results else 1


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=benchmarks.__doc__,
        epilog="rows:\n" + "\n".join(map(described, ROWS)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("names", nargs="*", help="parts of the names of the rows to print; all of them by default")
    found.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file too")
    found.add_argument("--ended", type=int, default=claims.ENDED, metavar="N", help="ended tasks for claims")
    found.add_argument(
        "--history", type=int, default=prune.SIZE, metavar="N", help="rows of the history that is pruned"
    )
    found.add_argument("--size", type=int, default=dashboard.SIZE, metavar="N", help="tasks for the dashboard")
    return found


def described(row: Row) -> str:
    """A row for the help text."""
    floor = f"; floor: {row.floor}" if row.floor else ""
    wanted = f"; wanted: {row.wanted}" if row.wanted != "-" else ""
    meaning = textwrap.fill(row.meaning, 110, initial_indent="      ", subsequent_indent="      ")
    return f"  {row.name} [{row.unit}{floor}{wanted}]\n{meaning}"


def report(row: Row) -> Result:
    """Take one measure and print its line."""
    empty_tables()
    measured = row.measure()
    if isinstance(measured, float):
        measured = (measured,)
    figures = Figures(ours=measured) if isinstance(measured, tuple) else measured
    cells = (
        row.name,
        row.unit,
        listed(figures.ours),
        f"{row.floor} {listed(figures.floor)}" if figures.floor else "-",
        f"{figures.ratio:.2f} ({min(figures.ratios):.2f} to {max(figures.ratios):.2f})" if figures.ratio else "-",
        row.wanted,
        cpu_text(figures.cpu),
        cpu_text(figures.floor_cpu),
        f"{figures.cpu.total / figures.floor_cpu.total:.2f}" if figures.cpu and figures.floor_cpu else "-",
    )
    print(f"| {' | '.join(cells)} |", flush=True)
    return Result(row.name, row.unit, row.floor, row.wanted, figures.ratio, figures)


def listed(figures: tuple[float, ...]) -> str:
    return ", ".join(f"{figure:,.0f}" if figure >= 100 else f"{figure:.2f}" for figure in figures)


def cpu_text(cpu: Cpu | None) -> str:
    return "-" if cpu is None else f"{cpu.processes:.3f} + {cpu.server:.3f}"


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
