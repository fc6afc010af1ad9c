"""`manage.py prune`: delete what ended long ago, now and as fast as it goes."""

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
TROUBLE: Final = 2
TELL_EVERY: Final = 2.0
"""Seconds between two lines of progress."""


class Command(BaseCommand):
    """Prunes, or counts what would be pruned."""

    help = (
        "Deletes the tasks that ended longer ago than their pipelines keep them, with all that is their own, in small "
        "transactions; then events, idempotency keys, workers, operations and what is known of rates. Unfinished tasks "
        "and what they need are never touched. Workers do the same by themselves, at a slower pace; this command is "
        "for a long history. It can run beside them, be stopped at any time, and go on where it was."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """What to prune."""
        parser.add_argument("--dry-run", action="store_true", help="Count the tasks, and delete nothing.")
        parser.add_argument(
            "--older-than",
            type=span,
            metavar="30d",
            help="Those that ended so long ago, in days (d), hours (h) or minutes (m), instead of what the pipelines "
            "say. A pipeline that is kept for ever is pruned only when it is named.",
        )
        parser.add_argument("--pipeline", default="", metavar="NAME", help="The tasks of this pipeline alone.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prune each pipeline, then the rest, and say how much it was."""
        name, dry = options["pipeline"], options["dry_run"]
        try:
            total = 0
            for pipeline, keep in chosen(name, options["older_than"]):
                if keep is None:
                    self.stdout.write(f"{pipeline}: kept for ever")
                    continue
                total += self.prune(pipeline, keep, dry=dry)
            rows = 0 if name or dry else sum(batch.rows for batch in retention.prune_all_others())
        except Error as error:
            raise CommandError(f"The database does not answer as it should: {error}", returncode=TROUBLE) from error
        tasks = f"{total:,} task{'s' * (total != 1)}"
        others = f", and {rows:,} events, keys, workers, operations and records of rates" if rows else ""
        self.stdout.write(f"{tasks} would be pruned." if dry else f"{tasks} pruned{others}.")

    def prune(self, pipeline: str, keep: timedelta, *, dry: bool) -> int:
        """Prune one pipeline, with a line of progress now and then; how many tasks."""
        began = told = time.monotonic()
        tasks = rows = 0
        for batch in (retention.count_all if dry else retention.prune_all)(pipeline, keep):
            tasks, rows = tasks + batch.tasks, rows + batch.rows
            if time.monotonic() - told > TELL_EVERY:
                told = time.monotonic()
                self.stderr.write(f"{pipeline}: {tasks:,} tasks so far, {tasks / (told - began):,.0f} a second")
        if tasks or rows:
            what = "would be pruned" if dry else f"pruned, {rows:,} rows in {time.monotonic() - began:.1f} s"
            self.stdout.write(f"{pipeline}: {tasks:,} tasks that ended more than {in_words(keep)} ago {what}")
        return tasks


def chosen(name: str, older_than: timedelta | None) -> Iterator[tuple[str, timedelta | None]]:
    """Pipelines and how long each is kept; None for ever."""
    pipelines = Pipeline.objects.order_by("name").only("name", "keep", "keep_for_ever")
    if name and not (pipelines := pipelines.filter(pk=name)):
        raise CommandError(f"No pipeline is called {name!r}.", returncode=TROUBLE)
    for pipeline in pipelines:
        keep = retention.kept_for(pipeline.keep, for_ever=pipeline.keep_for_ever)
        yield pipeline.name, older_than if older_than is not None and (name or keep is not None) else keep


def span(text: str) -> timedelta:
    """A length of time such as 30d."""
    found = re.fullmatch(r"([0-9]{1,6})([mhd])", text, re.ASCII)
    if found is None:
        raise argparse.ArgumentTypeError("give days, hours or minutes, such as 30d, 12h or 90m")
    length = timedelta(**{UNITS[found[2]]: int(found[1])})
    if length < SHORTEST_RETENTION:
        raise argparse.ArgumentTypeError(f"give at least {SHORTEST_RETENTION}")
    return length


def in_words(length: timedelta) -> str:
    """A length of time, in whole days if it is."""
    days, rest = divmod(length, timedelta(days=1))
    return str(length) if rest else f"{days:,} day{'s' * (days != 1)}"
