"""`manage.py pipelines`: list the pipelines of the code, or check the code against unfinished tasks."""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import Error
from django.db.models import Count

from taskqueue.definitions import PipelineDefinition, Policies, fingerprint, registry
from taskqueue.engine.actions.deploy_check import Finding, replay_live
from taskqueue.models import Task
from taskqueue.states import LIVE

EXIT_BREAKS: Final = 1
EXIT_ERROR: Final = 2

MAX_LISTED: Final = 5
"""Tasks that are listed of each finding."""


class Command(BaseCommand):
    help = (
        "Lists the pipelines of the code: name, version, fingerprint, steps, policies and the number of unfinished "
        "tasks. With --check-live it finds the unfinished tasks that this code would break: it calls the body of each "
        "task with the recorded results of its steps, up to the first step without one. It executes no step and writes "
        "nothing (the transaction is read-only), but side effects of a body outside of its steps do happen. Exit code: "
        "0 if nothing breaks, 1 if something does, 2 for wrong usage or a database error."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--check-live", action="store_true", help="Replay the unfinished tasks.")
        parser.add_argument("--pipeline", default="", metavar="NAME", help="Only this pipeline.")
        parser.add_argument("--limit", type=at_least_one, metavar="N", help="Replay only the oldest N tasks.")
        parser.add_argument("--json", action="store_true", help="Print JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        name, check = options["pipeline"], options["check_live"]
        if options["limit"] is not None and not check:
            raise CommandError("--limit needs --check-live.", returncode=EXIT_ERROR)
        try:
            if name and name not in registry.names() and not Task.objects.filter(pipeline=name).exists():
                known = ", ".join(registry.names()) or "none"
                raise CommandError(f"No pipeline is called {name!r}. Known: {known}.", returncode=EXIT_ERROR)
            if check:
                self.check_live(name, options["limit"], as_json=options["json"])
            else:
                self.list_all(name, as_json=options["json"])
        except Error as error:
            raise CommandError(f"Database error: {error}", returncode=EXIT_ERROR) from error

    def list_all(self, name: str, *, as_json: bool) -> None:
        rows = [row_of(each, unfinished) for each, unfinished in with_counts(name)]
        if as_json:
            self.stdout.write(json.dumps(rows, indent=2))
            return
        for line in table(rows):
            self.stdout.write(line)

    def check_live(self, name: str, limit: int | None, *, as_json: bool) -> None:
        examined = 0

        def watch(done: int, total: int) -> None:
            nonlocal examined
            examined = done
            if total > 100:
                self.stderr.write(f"{done:,} of {total:,} tasks")

        found = list(replay_live(pipeline=name, limit=limit, on_progress=watch))
        broken = {each.task for each in found if each.breaks}
        if as_json:
            findings = [{**asdict(each), "task": str(each.task)} for each in found]
            self.stdout.write(json.dumps({"examined": examined, "breaks": len(broken), "findings": findings}, indent=2))
        else:
            for line in report(found):
                self.stdout.write(line)
            warned = len({each.task for each in found} - broken)
            self.stdout.write(f"Tasks replayed: {examined:,}; would break: {len(broken):,}; with warnings: {warned:,}.")
        if broken:
            sys.exit(EXIT_BREAKS)


def with_counts(name: str) -> list[tuple[PipelineDefinition, int]]:
    live = Task.objects.filter(status__in=LIVE, parallel_step="").order_by()
    counts = dict(live.values_list("pipeline").annotate(Count("pk")))
    return [(each, counts.get(each.name, 0)) for each in registry.all() if name in ("", each.name)]


def row_of(definition: PipelineDefinition, unfinished: int) -> dict[str, Any]:
    return {
        "name": definition.name,
        "version": definition.policies.version,
        "queue": definition.policies.queue,
        "keeps": sorted(definition.versions),
        "fingerprint": fingerprint(definition),
        "steps": [step.name for step in definition.steps_in_body()],
        "step_queues": {step.name: step.queue for step in definition.steps_in_body() if step.queue},
        "policies": policy_texts(definition.policies),
        "unfinished": unfinished,
    }


def policy_texts(policies: Policies) -> list[str]:
    found = {name: value for name, value in vars(policies).items() if value not in (None, "", (), False)}
    for column in ("version", "queue"):
        found.pop(column, None)
    return [name if value is True else f"{name}={short_text(value)}" for name, value in found.items()]


def short_text(value: object) -> str:
    if isinstance(value, tuple):
        return "+".join(short_text(each) for each in value)
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    parts = {name: part for name, part in vars(value).items() if isinstance(part, str | int | timedelta) and part}
    return "/".join(short_text(part) if isinstance(part, timedelta) else str(part) for part in parts.values()) or "yes"


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    if not rows:
        return ["The code defines no pipelines. Are they in a module pipelines.py of an installed app?"]
    header = ["PIPELINE", "QUEUE", "VERSION", "FINGERPRINT", "UNFINISHED", "STEPS", "POLICIES"]
    cells = [
        [
            row["name"],
            row["queue"],
            " ".join([row["version"] or "-", *(f"(+{version or 'none'})" for version in row["keeps"])]),
            row["fingerprint"],
            f"{row['unfinished']:,}",
            ", ".join(step_text(step, row["step_queues"].get(step)) for step in row["steps"]) or "-",
            ", ".join(row["policies"]) or "-",
        ]
        for row in rows
    ]
    widths = [max(len(line[column]) for line in [header, *cells]) for column in range(len(header))]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in [header, *cells]]


def step_text(step: str, queue: str | None) -> str:
    return f"{step} (queue {queue})" if queue else step


def report(found: Iterable[Finding]) -> list[str]:
    """Findings as lines, grouped: one entry for all tasks with the same finding."""
    groups: defaultdict[tuple[bool, str, str, str], list[Finding]] = defaultdict(list)
    for each in found:
        groups[not each.breaks, each.pipeline, each.kind, each.key].append(each)
    lines = []
    for (is_warning, pipeline, kind, key), findings in sorted(groups.items()):
        word = "warning" if is_warning else "BREAKS"
        number = "1 task" if len(findings) == 1 else f"{len(findings):,} tasks"
        lines += [f"{word}: {pipeline}: {kind}{f' {key}' if key else ''}: {number}", f"    {findings[0].message}"]
        lines += [f"    task {each.task}" for each in findings[:MAX_LISTED]]
        lines += [f"    and {len(findings) - MAX_LISTED:,} more"] if len(findings) > MAX_LISTED else []
    return lines


def at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
