"""A pipeline's page as plain values: what its template shows, read with a fixed number of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Prefetch
from django.db.models.functions import Now
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin.pipelines.columns import address_of_uses, concurrency_limit_of, places_of, tasks_of
from taskqueue.admin.pipelines.graph import Node, nodes_of
from taskqueue.admin.pipelines.stats import PipelineFigures, capped, figures_of
from taskqueue.admin.rate_limits.budget import Budget, budget_of
from taskqueue.admin.shared import formats, html
from taskqueue.admin.shared.details import AuditEntry, Fact, audit_entries_of
from taskqueue.engine.maintenance import retention
from taskqueue.engine.queries import samples
from taskqueue.models import ConcurrencyLimit, Pipeline, PipelineStep, Pruning, RateLimitBucket, Schedule
from taskqueue.policies import Cron

HISTORY_SHOWN = 30
TICKS_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class StepPolicy:
    """A line of the table of steps."""

    node: Node
    known: PipelineStep | None

    @property
    def retry(self) -> str:
        """Its waits in words."""
        return formats.NOTHING if self.known is None else formats.waits(self.known.retry)

    @property
    def timeout(self) -> str:
        """How long one try may take."""
        if self.known is None:
            return formats.NOTHING
        return "none" if self.known.timeout is None else formats.wait_length(self.known.timeout.total_seconds())

    @property
    def atomicity(self) -> str:
        """Whether its ORM writes and its checkpoint commit together."""
        return formats.NOTHING if self.known is None else "yes" if self.known.atomic else "no"


@dataclass(frozen=True, kw_only=True)
class CodeRow:
    """Code that ran lately."""

    fingerprint: str
    version: str
    tasks: str
    moment: SafeString
    is_present: bool


@dataclass(frozen=True, kw_only=True)
class PipelinePage:
    """Everything that a pipeline's page shows.

    Attributes:
        sampled: of how many newest tasks the steps tell.
        kept: how long its ended tasks are kept, and how many have gone.
    """

    pipeline: Pipeline
    concurrency_limit: ConcurrencyLimit | None
    now: datetime
    figures: PipelineFigures
    budget: Budget | None
    steps: list[StepPolicy]
    sampled: int
    code: list[CodeRow]
    schedule: Schedule | None
    ticks: list[SafeString]
    kept: str
    history: list[AuditEntry]

    @property
    def nodes(self) -> list[Node]:
        """The steps as they are drawn."""
        return [step.node for step in self.steps]

    @property
    def facts(self) -> list[Fact]:
        """How it does at this moment."""
        found = self.figures
        name = self.pipeline.name
        return [
            Fact("Concurrency", places_of(self.pipeline, found.load.held)),
            Fact("Throttle", self.starts),
            Fact("In queue", link(tasks_of(name, status="queued"), capped(found.load.queued))),
            Fact("Last 24 hours", link(tasks_of(name, ended=found.slice), found.words)),
            Fact("Succeeded", found.share or formats.NOTHING),
            Fact("p50 / p95", found.lengths),
            Fact("Tasks", link(tasks_of(name), "All tasks")),
        ]

    @property
    def starts(self) -> SafeString | str:
        """What is left of the rate of its starts."""
        if self.concurrency_limit is None or self.concurrency_limit.rate is None:
            return "none"
        if self.budget is None:
            return link(address_of_uses(self.concurrency_limit.rate.pk), f"per {self.concurrency_limit.rate.key}")
        return self.budget.shown

    @property
    def code_says(self) -> dict[str, str]:
        """What the code says of each limit that a person may change."""
        concurrency_limit = self.concurrency_limit
        if concurrency_limit is None:
            return {}
        return {
            name: "unlimited" if most is None else f"{most:,}"
            for name, most in (
                ("tasks", concurrency_limit.declared_tasks),
                ("tasks_per_key", concurrency_limit.declared_tasks_per_key),
                ("steps", concurrency_limit.declared_steps),
                ("steps_per_key", concurrency_limit.declared_steps_per_key),
            )
        }


def page_of(name: str) -> PipelinePage | None:
    """Read a pipeline's page; eleven queries. None when there is no such pipeline."""
    known_steps = Prefetch("known_steps", PipelineStep.objects.order_by("position", "pk"))
    found: Any = (
        Pipeline.objects.select_related("concurrency_limit__rate", "schedule")
        .prefetch_related(known_steps)
        .annotate(seen_at=Now())
        .filter(pk=name)
        .first()
    )
    if found is None:
        return None
    concurrency_limit, schedule = concurrency_limit_of(found), getattr(found, "schedule", None)
    seen = samples.steps_of(name)
    return PipelinePage(
        pipeline=found,
        concurrency_limit=concurrency_limit,
        now=found.seen_at,
        figures=figures_of([name])[name],
        budget=starts_left(concurrency_limit, found.seen_at),
        steps=policies_of(nodes_of(seen, [step.name for step in found.known_steps.all()]), found.known_steps.all()),
        sampled=seen[0].tasks if seen else 0,
        code=code_rows(found, found.seen_at),
        schedule=schedule,
        ticks=[] if schedule is None else ticks_of(schedule, found.seen_at),
        kept=kept_of(found),
        history=audit_entries_of(history_of(name), found.seen_at),
    )


def starts_left(concurrency_limit: ConcurrencyLimit | None, now: datetime) -> Budget | None:
    """What is left of the rate of its starts, when it is one for all."""
    if concurrency_limit is None or concurrency_limit.rate is None or concurrency_limit.rate_is_keyed:
        return None
    return budget_of(
        concurrency_limit.rate, RateLimitBucket.objects.filter(rate=concurrency_limit.rate, key="").first(), now
    )


def policies_of(nodes: Sequence[Node], known: Sequence[PipelineStep]) -> list[StepPolicy]:
    """Each step with what the code says of it."""
    by_name = {step.name: step for step in known}
    return [StepPolicy(node=node, known=by_name.get(node.name)) for node in nodes]


def code_rows(pipeline: Pipeline, now: datetime) -> list[CodeRow]:
    """The code on which the newest tasks ran."""
    return [
        CodeRow(
            fingerprint=code.fingerprint,
            version=code.version,
            tasks=formats.count_of(code.tasks, "task"),
            moment=html.moment(code.seen_at, now),
            is_present=code.fingerprint == pipeline.fingerprint,
        )
        for code in samples.code_of(pipeline.name)
    ]


def ticks_of(schedule: Schedule, now: datetime) -> list[SafeString]:
    """The next times in words; none when this machine cannot tell them."""
    try:
        cron, zone = Cron(schedule.expression, timezone=schedule.timezone), ZoneInfo(schedule.timezone)
        ticks = [schedule.next_at]
        while len(ticks) < TICKS_SHOWN:
            ticks.append(cron.next_after(max(ticks[-1], now)))
    except ValueError:
        return [html.moment(schedule.next_at, now)]
    return [
        format_html("{}, on {}", html.moment(tick, now), f"{tick.astimezone(zone):%A %d %B at %H:%M} {zone.key}")
        for tick in ticks
    ]


def kept_of(pipeline: Pipeline) -> str:
    """How long its ended tasks are kept, and how many have gone."""
    keep = retention.kept_for(pipeline.keep, for_ever=pipeline.keep_for_ever)
    pruning = Pruning.objects.filter(pk=pipeline.pk).first() or Pruning()
    return formats.history(keep, pruning.total, pruning.pruned_at)


def history_of(name: str) -> list[LogEntry]:
    """Who did what to a pipeline, newest first."""
    content_type = ContentType.objects.get_for_model(Pipeline)
    entries = LogEntry.objects.filter(content_type=content_type, object_id=name).select_related("user")
    return list(entries.order_by("-action_time", "-pk")[:HISTORY_SHOWN])


def link(address: str, text: str) -> SafeString:
    """A way to somewhere else."""
    return format_html('<a href="{}">{}</a>', address, text)
