"""The columns of the list of pipelines, and what the list reads for all its rows at once."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.core.paginator import Paginator
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin.pipelines.filters import filtered_and_sorted
from taskqueue.admin.pipelines.pause import PAUSE
from taskqueue.admin.pipelines.stats import capped, stats_of
from taskqueue.admin.rate_limits.remaining import remaining_of
from taskqueue.admin.shared import formats, html
from taskqueue.admin.shared.links import list_url, view_url
from taskqueue.admin.shared.pagination import PagedChangeList
from taskqueue.admin.shared.queues import queue_label
from taskqueue.engine.access.permissions import Action, CallerPermissions
from taskqueue.models import ConcurrencyLimit, Pipeline, RateLimitBucket

RUN = "taskqueue.add_task"
LISTED_AT_MOST = 1000
"""The numbers of all listed pipelines are read before they are sorted."""


class PipelineChangeList(PagedChangeList):
    """A page of pipelines, each with its numbers and with what the user may do."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the numbers of all pipelines, filter and sort by them, and read the limits of one page."""
        pipelines: list[Any] = list(self.queryset[:LISTED_AT_MOST])
        stats = stats_of(row.pk for row in pipelines)
        for row in pipelines:
            row.stats = stats[row.pk]
        found = filtered_and_sorted(pipelines, self.params)
        self.result_list = self.rows_of_page(Paginator(found, self.list_per_page))
        self.add_limits(request, self.result_list)

    def add_limits(self, request: HttpRequest, rows: list[Any]) -> None:
        """Add the throttles' buckets and the user's permissions; one more query."""
        limits = {row.pk: concurrency_limit_of(row) for row in rows}
        rates = {limit.rate_id for limit in limits.values() if limit and limit.rate_id and not limit.rate_is_keyed}
        buckets = {bucket.rate_id: bucket for bucket in RateLimitBucket.objects.filter(rate__in=rates, key="")}
        may_pause, denied = request.user.has_perm(PAUSE), CallerPermissions(request.user).pipelines_denied(Action.RUN)
        for row in rows:
            limit = limits[row.pk]
            row.may_pause, row.may_run = may_pause, row.pk not in denied
            row.bucket = buckets.get(limit.rate_id or "") if limit is not None else None


@admin.display(description="Pipeline")
def name_and_description(pipeline: Pipeline) -> SafeString:
    description = formats.first_line(pipeline.description)
    return format_html(
        '<span class="tq-name">{}</span>{}<span class="tq-description" title="{}">{}</span>',
        html.wrap_at_slashes(pipeline.name),
        queue_label(pipeline.effective_queue),
        description,
        description,
    )


@admin.display(description="State")
def run_state(pipeline: Any) -> SafeString:
    switch = pause_switch(pipeline, may_pause=pipeline.may_pause, back="list")
    return format_html('{}<span class="tq-under">{}</span>', switch, pause_text(pipeline))


@admin.display(description="Limits")
def limits(pipeline: Any) -> SafeString:
    return format_html("{}{}", slots_meter(pipeline, pipeline.stats.load.slots_used), throttle_meter(pipeline))


@admin.display(description="In queue")
def in_queue(pipeline: Any) -> SafeString:
    number = pipeline.stats.load.queued
    address = list_url("task", pipeline=pipeline.name, status="queued")
    return format_html('<a class="{}" href="{}">{}</a>', "" if number else "tq-quiet", address, capped(number))


@admin.display(description="Last 24 hours")
def last_day(pipeline: Any) -> SafeString:
    stats = pipeline.stats
    address = list_url("task", pipeline=pipeline.name, ended=stats.slice)
    if not stats.day.total.ended:
        return format_html('<a class="tq-under tq-alone" href="{}">{}</a>', address, stats.counts)
    return format_html(
        '{}<span class="tq-share{}">{}</span><a class="tq-under" href="{}">{}</a>',
        stats.bars,
        " tq-is-bad" if stats.tone else "",
        stats.success_rate,
        address,
        stats.counts,
    )


@admin.display(description="p50 / p95")
def durations(pipeline: Any) -> str:
    return str(pipeline.stats.durations)


@admin.display(description="Actions")
def buttons(pipeline: Any) -> SafeString | str:
    if not pipeline.may_run:
        return ""
    address = view_url("pipeline", "submit", pipeline.pk)
    return format_html('<a class="tq-button" href="{}" aria-label="Submit a task of {}">Submit</a>', address, pipeline)


COLUMNS: Final = (name_and_description, run_state, limits, in_queue, last_day, durations, buttons)


def pause_switch(pipeline: Pipeline, *, may_pause: bool, back: str = "") -> SafeString:
    """The switch "Running / Paused"; it sends the form around it to the view that pauses or resumes."""
    is_running = pipeline.paused_at is None
    verb = "pause" if is_running else "resume"
    address = view_url("pipeline", verb, pipeline.pk) + (f"?back={back}" if back else "")
    return format_html(
        '<button type="submit" role="switch" aria-checked="{}" class="tq-switch" formaction="{}" formmethod="post"'
        ' aria-label="{} is running" title="{}"{}><span>{}</span></button>',
        "true" if is_running else "false",
        address,
        pipeline.name,
        "" if may_pause else "You may not pause pipelines.",
        "" if may_pause else SafeString(" disabled"),
        "Running" if is_running else "Paused",
    )


def pause_text(pipeline: Pipeline) -> str:
    """By whom and why the pipeline is paused; empty when it is running."""
    if pipeline.paused_at is None:
        return ""
    return f"paused by {pipeline.paused_by or 'an unknown user'}: {pipeline.pause_reason}"


def slots_meter(pipeline: Pipeline, taken: int) -> SafeString:
    limit = concurrency_limit_of(pipeline)
    most = None if limit is None else limit.tasks or limit.declared_tasks
    per_key = None if limit is None else limit.tasks_per_key or limit.declared_tasks_per_key
    key_note = format_html('<span class="tq-under">{} per {}</span>', per_key, limit.key) if limit and per_key else ""
    if most is None:
        return format_html('<span class="tq-quiet">{} running, unlimited</span>{}', capped(taken), key_note)
    text = f"{capped(taken)} of {most:,}"
    meter = html.meter(min(taken, most), most, label="Slots taken", text=text, is_full=taken >= most)
    return format_html("{}{}", meter, key_note)


def throttle_meter(pipeline: Any) -> SafeString | str:
    limit = concurrency_limit_of(pipeline)
    if limit is None or limit.rate is None:
        return ""
    if limit.rate_is_keyed:
        address = list_url("ratelimitbucket", q=limit.rate_id or "")
        return format_html('<a class="tq-under tq-alone" href="{}">throttle per {}</a>', address, limit.rate.key)
    return format_html(
        '<div class="tq-throttle">{}</div>', remaining_of(limit.rate, pipeline.bucket, pipeline.seen_at).meter
    )


def concurrency_limit_of(pipeline: Pipeline) -> ConcurrencyLimit | None:
    concurrency_limit: Any = getattr(pipeline, "concurrency_limit", None)
    return concurrency_limit if isinstance(concurrency_limit, ConcurrencyLimit) else None
