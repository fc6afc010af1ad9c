"""`manage.py worker`: execute tasks until told to stop."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from taskqueue.definitions import registry
from taskqueue.pool import cluster, orphans, reloading, startup


class Command(BaseCommand):
    """Starts the worker processes, keeps them running, and stops them in good order."""

    help = (
        "Executes tasks in a pool of worker processes until SIGTERM or Ctrl-C. Then a running step may end within "
        'TASKQUEUE["STOP_GRACE"], and tasks that are not done are handed back at once; a second signal stops without '
        "waiting. Start as many of these, on as many machines, as you like."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Two options; everything else is a setting."""
        parser.add_argument(
            "--processes",
            type=_at_least_one,
            metavar="N",
            help='How many worker processes (default: Q_CLUSTER["workers"], or else one for each core).',
        )
        parser.add_argument(
            "--reload",
            action=argparse.BooleanOptionalAction,
            default=False,
            help="For development: restart the worker when a Python file of the project changes.",
        )
        # The process that reloads passes its number on to the worker, which must not outlive it.
        parser.add_argument(reloading.DIE_WITH, type=int, help=argparse.SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        """Get ready, say so in one line, run, and say in one more how it ended."""
        signals = cluster.Signals()
        signals.watch()
        if options["reload"]:
            sys.exit(reloading.run(signals, self._say))
        if parent := options["die_with"]:
            orphans.die_with(parent)
        startup.quieten()
        startup.use_worker_database()
        startup.persist_connections()
        processes = startup.size_pool(options["processes"])
        if refusal := startup.wrong_broker() or startup.await_database(self._say):
            raise CommandError(refusal)
        self._say(
            f"Worker: {processes} {'process' if processes == 1 else 'processes'} on {_database()}, "
            f"for {_pipelines()}. Stop with Ctrl-C."
        )
        code = cluster.run(signals, processes=processes)
        self._say("Worker stopped." if code == 0 else "Worker stopped before all of its steps had ended.")
        sys.exit(code)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _database() -> str:
    settings = connection.settings_dict
    place = f" at {settings['HOST']}:{settings['PORT'] or 5432}" if settings["HOST"] else ""
    return f"database {settings['NAME']}{place}"


def _pipelines() -> str:
    names = sorted(definition.name for definition in registry.all())
    return f"{'pipeline' if len(names) == 1 else 'pipelines'} {', '.join(names)}" if names else "no pipelines yet"
