"""`manage.py seed`: create a long history, to see the dashboard and its speed with a million tasks."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from demo.seeding import STEPS, count, seed

HELP = """Fills the database with tasks of example pipelines (seed/…), like those of a month: all statuses, failed
attempts, labels and keys. No code defines these pipelines, so no worker runs their tasks. At the end they are counted
for the overview."""


class Command(BaseCommand):
    help = HELP

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tasks", type=int, default=10_000, metavar="N", help="how many tasks (10000)")
        parser.add_argument("--steps", type=int, default=5, metavar="N", help=f"steps of each, 1 to {len(STEPS)} (5)")
        parser.add_argument("--force", action="store_true", help="also where DEBUG is off")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEBUG and not options["force"]:
            raise CommandError(
                "seed fills the database with example tasks, and DEBUG is off: this may be the database of a service. "
                "Add --force if you mean it."
            )
        if not 1 <= options["steps"] <= len(STEPS):
            raise CommandError(f"--steps must be from 1 to {len(STEPS)}.")
        if options["tasks"] < 1:
            raise CommandError("--tasks must be at least 1.")
        started_at = time.monotonic()
        for created in seed(tasks=options["tasks"], steps=options["steps"]):
            self.stdout.write(f"{created:,} tasks")
        self.stdout.write("Counting them for the overview ...")
        count()
        self.stdout.write(self.style.SUCCESS(f"Seeded in {time.monotonic() - started_at:.1f} s."))
