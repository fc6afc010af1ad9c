"""`manage.py worker`: execute tasks until it is stopped."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from taskqueue.conf import settings
from taskqueue.definitions import registry
from taskqueue.pool import cluster, orphans, startup
from taskqueue.pool.reload import reloading


class Command(BaseCommand):
    help = (
        "Executes tasks in a pool of worker processes until SIGTERM or Ctrl-C. Then running steps have "
        'TASKQUEUE["STOP_GRACE"] to end, and unfinished tasks are released for other workers; a second signal stops '
        "without waiting. Start any number of these commands on any number of machines."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--processes",
            type=_at_least_one,
            metavar="N",
            help='Number of worker processes (default: Q_CLUSTER["workers"], or one per core).',
        )
        parser.add_argument(
            "--threads",
            type=_at_least_one,
            metavar="N",
            help='Number of plain tasks that each process executes at once (default: TASKQUEUE["THREADS"]). '
            "1 for tasks that need the CPU, not the network.",
        )
        parser.add_argument(
            "--async-slots",
            type=_at_least_zero,
            metavar="N",
            help="Number of async tasks that each process executes at once on its event loop (default: "
            'TASKQUEUE["ASYNC_SLOTS"]). 0: each async task takes a thread.',
        )
        parser.add_argument(
            "--reload",
            action=argparse.BooleanOptionalAction,
            default=False,
            help="For development: restart the worker when a Python file of the project changes.",
        )
        # The reloading process passes its pid to the worker, which must not outlive it.
        parser.add_argument(reloading.DIE_WITH, type=int, help=argparse.SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        signals = cluster.Signals()
        signals.watch()
        if options["reload"]:
            sys.exit(reloading.run(signals, self._print))
        if parent := options["die_with"]:
            orphans.die_with(parent)
        startup.apply_log_level()
        startup.use_worker_database()
        startup.persist_connections()
        processes = startup.set_pool_size(options["processes"])
        if refusal := startup.broker_error() or startup.wait_for_database(self._print):
            raise CommandError(refusal)
        threads = options["threads"] or settings().THREADS
        async_slots = settings().ASYNC_SLOTS if options["async_slots"] is None else options["async_slots"]
        if not any(definition.is_async for definition in registry.all()):
            async_slots = 0
        if warning := startup.connections_warning(processes, threads, is_async=bool(async_slots)):
            self._print(warning)
        size = _size(processes, threads, async_slots)
        self._print(f"Worker: {size} on {_database()}, for {_pipelines()}. Stop with Ctrl-C.")
        code = cluster.run(signals, processes=processes, threads=threads, async_slots=async_slots)
        self._print("Worker stopped." if code == 0 else "Worker stopped before all of its steps had ended.")
        sys.exit(code)

    def _print(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _at_least_zero(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must be at least 0")
    return number


def _size(processes: int, threads: int, async_slots: int) -> str:
    in_threads = f"with {threads} {'thread' if threads == 1 else 'threads'}"
    if async_slots:
        in_threads += f" and {async_slots} async {'slot' if async_slots == 1 else 'slots'}"
    return f"1 process {in_threads}" if processes == 1 else f"{processes} processes {in_threads} each"


def _database() -> str:
    database = connection.settings_dict
    address = f" at {database['HOST']}:{database['PORT'] or 5432}" if database["HOST"] else ""
    return f"database {database['NAME']}{address}"


def _pipelines() -> str:
    names = sorted(definition.name for definition in registry.all())
    return f"{'pipeline' if len(names) == 1 else 'pipelines'} {', '.join(names)}" if names else "no pipelines yet"
