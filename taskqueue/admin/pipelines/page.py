"""The data of a pipeline's page, read with a fixed number of queries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Prefetch
from django.db.models.functions import Now
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin.pipelines.columns import concurrency_limit_of, slots_meter
from taskqueue.admin.pipelines.graph import Node, nodes_of
from taskqueue.admin.pipelines.stats import PipelineStats, capped, stats_of
from taskqueue.admin.rate_limits.remaining import Remaining, remaining_of
from taskqueue.admin.shared import formats, html
from taskqueue.admin.shared.details import AuditEntry, Detail, audit_entries_of, log_entries_of
from taskqueue.admin.shared.links import link, list_url
from taskqueue.engine.actions.limits import LIMIT_FIELDS
from taskqueue.engine.maintenance import retention
from taskqueue.engine.queries import pipeline_stats
from taskqueue.engine.runtime.queue_workers import workers_of
from taskqueue.engine.worker.heartbeat import live_workers
from taskqueue.models import ConcurrencyLimit, Pipeline, PipelineStep, Pruning, RateLimitBucket, Schedule
from taskqueue.policies import Cron

HISTORY_SHOWN = 30
NEXT_RUNS_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class PipelinePage:
    """Everything that a pipeline's page shows.

    Attributes:
        throttle: what is left of the throttle; None without one, or when it is keyed.
        sampled: the number of newest tasks that the steps' numbers come from.
        queue_note: that no live worker takes its queue; empty when one does.
        retention: how long ended tasks are kept, and how many have been pruned.
    """

    pipeline: Pipeline
    concurrency_limit: ConcurrencyLimit | None
    stats: PipelineStats
    throttle: Remaining | None
    steps: list[Node]
    sampled: int
    code_versions: list[dict[str, Any]]
    schedule: Schedule | None
    next_runs: list[SafeString]
    queue_note: str
    retention: str
    history: list[AuditEntry]

    @property
    def details(self) -> list[Detail]:
        stats, name = self.stats, self.pipeline.name
        return [
            Detail("Queue", html.with_note(self.pipeline.effective_queue, self.queue_note)),
            Detail("Concurrency", slots_meter(self.pipeline, stats.load.slots_used)),
            Detail("Throttle", self.throttle_text),
            Detail("In queue", link(list_url("task", pipeline=name, status="queued"), capped(stats.load.queued))),
            Detail("Last 24 hours", link(list_url("task", pipeline=name, ended=stats.slice), stats.counts)),
            Detail("Succeeded", stats.success_rate or formats.EMPTY_VALUE),
            Detail("p50 / p95", stats.durations),
            Detail("Tasks", link(list_url("task", pipeline=name), "All tasks")),
        ]

    @property
    def throttle_text(self) -> SafeString | str:
        limit = self.concurrency_limit
        if limit is None or limit.rate is None:
            return "none"
        return (
            self.throttle.meter
            if self.throttle
            else link(list_url("ratelimitbucket", q=limit.rate.pk), f"per {limit.rate.key}")
        )

    @property
    def limits_in_code(self) -> dict[str, str]:
        limit = self.concurrency_limit
        if limit is None:
            return {}
        declared = {name: getattr(limit, field) for name, field in LIMIT_FIELDS.items()}
        return {name: "unlimited" if most is None else f"{most:,}" for name, most in declared.items()}


def page_of(name: str) -> PipelinePage | None:
    """The page of a pipeline, by twelve queries; None when there is no such pipeline."""
    registered_steps = Prefetch("known_steps", PipelineStep.objects.order_by("position", "pk"))
    pipeline: Any = (
        Pipeline.objects.select_related("concurrency_limit__rate", "schedule")
        .prefetch_related(registered_steps)
        .annotate(seen_at=Now())
        .filter(pk=name)
        .first()
    )
    if pipeline is None:
        return None
    limit, schedule = concurrency_limit_of(pipeline), getattr(pipeline, "schedule", None)
    recorded = pipeline_stats.steps_of(name)
    registered = {step.name: step for step in pipeline.known_steps.all()}
    return PipelinePage(
        pipeline=pipeline,
        concurrency_limit=limit,
        stats=stats_of([name])[name],
        throttle=throttle_remaining(limit, pipeline.seen_at),
        steps=[replace(node, registered=registered.get(node.name)) for node in nodes_of(recorded, registered)],
        sampled=recorded[0].tasks if recorded else 0,
        code_versions=code_versions(pipeline, pipeline.seen_at),
        schedule=schedule,
        next_runs=[] if schedule is None else next_runs(schedule, pipeline.seen_at),
        queue_note="" if has_workers(pipeline.effective_queue) else "no live worker takes it",
        retention=retention_text(pipeline),
        history=audit_entries_of(log_entries_of(Pipeline, name, limit=HISTORY_SHOWN), pipeline.seen_at),
    )


def has_workers(queue: str) -> bool:
    return live_workers().filter(workers_of(queue)).exists()


def throttle_remaining(limit: ConcurrencyLimit | None, now: datetime) -> Remaining | None:
    if limit is None or limit.rate is None or limit.rate_is_keyed:
        return None
    return remaining_of(limit.rate, RateLimitBucket.objects.filter(rate=limit.rate, key="").first(), now)


def code_versions(pipeline: Pipeline, now: datetime) -> list[dict[str, Any]]:
    """The versions of the code on which recent tasks ran."""
    return [
        {
            "fingerprint": code.fingerprint,
            "version": code.version,
            "tasks": formats.count_of(code.tasks, "task"),
            "last_created": html.moment(code.seen_at, now),
            "is_deployed": code.fingerprint == pipeline.fingerprint,
        }
        for code in pipeline_stats.code_versions_of(pipeline.name)
    ]


def next_runs(schedule: Schedule, now: datetime) -> list[SafeString]:
    """The next scheduled times; only the stored one when this machine does not know the time zone."""
    try:
        cron, zone = Cron(schedule.expression, timezone=schedule.timezone), ZoneInfo(schedule.timezone)
        times = [schedule.next_at]
        while len(times) < NEXT_RUNS_SHOWN:
            times.append(cron.next_after(max(times[-1], now)))
    except ValueError:
        return [html.moment(schedule.next_at, now)]
    return [
        format_html("{}, on {}", html.moment(time, now), f"{time.astimezone(zone):%A %d %B at %H:%M} {zone.key}")
        for time in times
    ]


def retention_text(pipeline: Pipeline) -> str:
    keep = retention.retention_of(pipeline)
    pruning = Pruning.objects.filter(pk=pipeline.pk).first() or Pruning()
    return formats.retention_note(keep, pruning.total, pruning.pruned_at)
