"""`manage.py prune`: delete old history now, without the pace limit of workers."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from taskqueue.conf import SHORTEST_RETENTION
from taskqueue.engine.maintenance import retention
from taskqueue.models import Pipeline

UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
EXIT_ERROR: Final = 2
PROGRESS_INTERVAL: Final = 2.0
"""Seconds between two lines of progress."""


class Command(BaseCommand):
    help = (
        "Deletes tasks whose retention has passed, with their steps and attempts, in small transactions; then old "
        "events, idempotency keys, workers, bulk operations and rate limit records. Never deletes unfinished tasks and "
        "what they need. Workers prune too, at a slower pace; this command is for a long history. It can run next to "
        "them and be stopped and repeated at any time."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Count the tasks, delete nothing.")
        parser.add_argument(
            "--older-than",
            type=duration,
            metavar="30d",
            help="Retention in days (d), hours (h) or minutes (m), in place of that of each pipeline. A pipeline that "
            "is kept for ever is pruned only with --pipeline.",
        )
        parser.add_argument("--pipeline", default="", metavar="NAME", help="Only the tasks of this pipeline.")

    def handle(self, *args: Any, **options: Any) -> None:
        name, dry = options["pipeline"], options["dry_run"]
        try:
            total = 0
            for pipeline, keep in retentions(name, options["older_than"]):
                if keep is None:
                    self.stdout.write(f"{pipeline}: kept for ever")
                    continue
                total += self.prune(pipeline, keep, dry=dry)
            rows = 0 if name or dry else sum(batch.rows for batch in retention.prune_all_others())
        except Error as error:
            raise CommandError(f"Database error: {error}", returncode=EXIT_ERROR) from error
        tasks = f"{total:,} task{'s' * (total != 1)}"
        others = f", and {rows:,} events, keys, workers, operations and rate limit records" if rows else ""
        self.stdout.write(f"{tasks} would be pruned." if dry else f"{tasks} pruned{others}.")

    def prune(self, pipeline: str, keep: timedelta, *, dry: bool) -> int:
        started = printed = time.monotonic()
        tasks = rows = 0
        for batch in (retention.count_all if dry else retention.prune_all)(pipeline, keep):
            tasks, rows = tasks + batch.tasks, rows + batch.rows
            if time.monotonic() - printed > PROGRESS_INTERVAL:
                printed = time.monotonic()
                self.stderr.write(f"{pipeline}: {tasks:,} tasks so far, {tasks / (printed - started):,.0f} a second")
        if tasks or rows:
            what = "would be pruned" if dry else f"pruned, {rows:,} rows in {time.monotonic() - started:.1f} s"
            self.stdout.write(f"{pipeline}: {tasks:,} tasks that ended more than {in_words(keep)} ago {what}")
        return tasks


def retentions(name: str, older_than: timedelta | None) -> Iterator[tuple[str, timedelta | None]]:
    pipelines = Pipeline.objects.order_by("name").only("name", "keep", "keep_for_ever")
    if name and not (pipelines := pipelines.filter(pk=name)):
        raise CommandError(f"No pipeline is called {name!r}.", returncode=EXIT_ERROR)
    for pipeline in pipelines:
        keep = retention.retention_of(pipeline)
        yield pipeline.name, older_than if older_than is not None and (name or keep is not None) else keep


def duration(text: str) -> timedelta:
    found = re.fullmatch(r"([0-9]{1,6})([mhd])", text, re.ASCII)
    if found is None:
        raise argparse.ArgumentTypeError("give days, hours or minutes, such as 30d, 12h or 90m")
    value = timedelta(**{UNITS[found[2]]: int(found[1])})
    if value < SHORTEST_RETENTION:
        raise argparse.ArgumentTypeError(f"give at least {SHORTEST_RETENTION}")
    return value


def in_words(value: timedelta) -> str:
    days, rest = divmod(value, timedelta(days=1))
    return str(value) if rest else f"{days:,} day{'s' * (days != 1)}"
