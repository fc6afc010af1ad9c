"""`manage.py pipelines`: what the code defines, and whether it fits the tasks that are under way."""

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
from taskqueue.engine.execution.deploy_check import Finding, replay_live
from taskqueue.models import Task
from taskqueue.states import LIVE

BREAKS: Final = 1
TROUBLE: Final = 2

EXAMPLES: Final = 5
"""Tasks that are named of those of which the same was found."""


class Command(BaseCommand):
    """Lists pipelines, or checks the code against live tasks."""

    help = (
        "Lists the pipelines that the code defines: name, version, fingerprint of the code, steps, policies, and how "
        "many of their tasks have not ended. With --check-live, finds out which of these tasks the present code would "
        "break: the body of each is called with what its steps have recorded, up to the first call that is not "
        "recorded. No step is executed and nothing is written (the transaction is read-only), but what a body does "
        "outside of its steps does happen. Exit code: 0 when nothing breaks, 1 when something does, 2 for wrong usage "
        "or trouble with the database."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """What to look at, and how to say it."""
        parser.add_argument("--check-live", action="store_true", help="Replay the tasks that have not ended.")
        parser.add_argument("--pipeline", default="", metavar="NAME", help="This pipeline alone.")
        parser.add_argument("--limit", type=at_least_one, metavar="N", help="Replay the oldest N tasks at most.")
        parser.add_argument("--json", action="store_true", help="Answer as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Look, and answer in one of the two forms."""
        name, check = options["pipeline"], options["check_live"]
        if options["limit"] is not None and not check:
            raise CommandError("--limit goes with --check-live.", returncode=TROUBLE)
        try:
            if name and name not in registry.names() and not Task.objects.filter(pipeline=name).exists():
                known = ", ".join(registry.names()) or "none"
                raise CommandError(f"No pipeline is called {name!r}. Known: {known}.", returncode=TROUBLE)
            if check:
                self.check_live(name, options["limit"], as_json=options["json"])
            else:
                self.list_all(name, as_json=options["json"])
        except Error as error:
            raise CommandError(f"The database does not answer as it should: {error}", returncode=TROUBLE) from error

    def list_all(self, name: str, *, as_json: bool) -> None:
        """Every pipeline, or one."""
        rows = [described(each, unfinished) for each, unfinished in with_counts(name)]
        if as_json:
            self.stdout.write(json.dumps(rows, indent=2))
            return
        for line in table(rows):
            self.stdout.write(line)

    def check_live(self, name: str, limit: int | None, *, as_json: bool) -> None:
        """Replay, say what was found, and exit with 1 when something breaks."""
        examined = 0

        def watch(done: int, total: int) -> None:
            nonlocal examined
            examined = done
            if total > 100:
                self.stderr.write(f"{done:,} of {total:,} tasks")

        found = list(replay_live(pipeline=name, limit=limit, watch=watch))
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
            sys.exit(BREAKS)


def with_counts(name: str) -> list[tuple[PipelineDefinition, int]]:
    """The pipelines of the code, each with how many of its tasks have not ended."""
    live = Task.objects.filter(status__in=LIVE, parallel_step="").order_by()
    counts = dict(live.values_list("pipeline").annotate(Count("pk")))
    return [(each, counts.get(each.name, 0)) for each in registry.all() if name in ("", each.name)]


def described(definition: PipelineDefinition, unfinished: int) -> dict[str, Any]:
    """A pipeline as one row."""
    return {
        "name": definition.name,
        "version": definition.policies.version,
        "keeps": sorted(definition.versions),
        "fingerprint": fingerprint(definition),
        "steps": [step.name for step in definition.known_steps()],
        "policies": in_short(definition.policies),
        "unfinished": unfinished,
    }


def in_short(policies: Policies) -> list[str]:
    """The policies that are set, each in a few letters."""
    found = {name: value for name, value in vars(policies).items() if value not in (None, "", (), False)}
    found.pop("version", None)
    return [name if value is True else f"{name}={shortly(value)}" for name, value in found.items()]


def shortly(value: object) -> str:
    """What tells one policy from another of its kind."""
    if isinstance(value, tuple):
        return "+".join(shortly(each) for each in value)
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    parts = {name: part for name, part in vars(value).items() if isinstance(part, str | int | timedelta) and part}
    return "/".join(shortly(part) if isinstance(part, timedelta) else str(part) for part in parts.values()) or "yes"


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Rows as lines with a head."""
    if not rows:
        return ["The code defines no pipelines (is their module called pipelines.py, in an installed app?)."]
    head = ["PIPELINE", "VERSION", "FINGERPRINT", "UNFINISHED", "STEPS", "POLICIES"]
    cells = [
        [
            row["name"],
            " ".join([row["version"] or "-", *(f"(+{kept or 'none'})" for kept in row["keeps"])]),
            row["fingerprint"],
            f"{row['unfinished']:,}",
            ", ".join(row["steps"]) or "-",
            ", ".join(row["policies"]) or "-",
        ]
        for row in rows
    ]
    widths = [max(len(line[column]) for line in [head, *cells]) for column in range(len(head))]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in [head, *cells]]


def report(found: Iterable[Finding]) -> list[str]:
    """Findings for people: what is the same of many tasks is said once."""
    groups: defaultdict[tuple[bool, str, str, str], list[Finding]] = defaultdict(list)
    for each in found:
        groups[not each.breaks, each.pipeline, each.kind, each.key].append(each)
    lines = []
    for (is_warning, pipeline, kind, key), same in sorted(groups.items()):
        word = "warning" if is_warning else "BREAKS"
        many = "1 task" if len(same) == 1 else f"{len(same):,} tasks"
        lines += [f"{word}: {pipeline}: {kind}{f' {key}' if key else ''}: {many}", f"    {same[0].message}"]
        lines += [f"    task {each.task}" for each in same[:EXAMPLES]]
        lines += [f"    and {len(same) - EXAMPLES:,} more"] if len(same) > EXAMPLES else []
    return lines


def at_least_one(text: str) -> int:
    """A number of tasks."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
