"""The overview page: outcomes and execution times of a time range, failures, workers and pipelines."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from django.contrib.admin import AdminSite
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString

from taskqueue import live
from taskqueue.admin.overview import stat_cards, tables
from taskqueue.admin.overview.example_pipeline import example_pipeline_for
from taskqueue.admin.overview.queries import OverviewData, are_alerts_unchecked, etag_of, overview_data
from taskqueue.admin.overview.stat_cards import ended_tasks_url, percentile_of
from taskqueue.admin.search.parameters import format_failure
from taskqueue.admin.shared import formats, html
from taskqueue.admin.shared.charts import Bar, BarSegment, Line, lines, stacked_bars
from taskqueue.admin.shared.links import list_url, page_url
from taskqueue.admin.shared.task_details import PHASE_NAMES
from taskqueue.engine.queries import stats
from taskqueue.engine.queries.stats import RANGES, Period, Range, RangeStats
from taskqueue.engine.runtime.locks import is_statement_timeout

DEFAULT_RANGE: Final = "6h"
PERCENTILES: Final = (("p50", 0.5, "blue"), ("p95", 0.95, "violet"), ("p99", 0.99, "grey"))


def page(request: HttpRequest, site: AdminSite, extra: dict[str, Any]) -> HttpResponse:
    range_ = RANGES.get(request.GET.get("range", DEFAULT_RANGE), RANGES[DEFAULT_RANGE])
    try:
        data = overview_data(range_)
    except OperationalError as error:
        if not is_statement_timeout(error):
            raise
        return rendered(request, site, range_, {"timed_out": True})
    etag = etag_of(request, data) if live.HEADER in request.headers else ""
    if etag and request.headers.get("If-None-Match") == etag:
        return HttpResponseNotModified(headers={"ETag": etag})
    response = rendered(request, site, range_, {**content(request, data), **extra})
    if etag:
        response["ETag"] = etag
    return response


def may_view(request: HttpRequest) -> bool:
    return request.user.has_perm("taskqueue.view_task")


def rendered(request: HttpRequest, site: AdminSite, range_: Range, content: dict[str, Any]) -> TemplateResponse:
    request.current_app = site.name
    context = {
        **site.each_context(request),
        "title": "Overview",
        "range": range_,
        "ranges": [(each.name, each.label) for each in RANGES.values()],
        **content,
    }
    return TemplateResponse(request, "taskqueue/overview.html", context)


def content(request: HttpRequest, data: OverviewData) -> dict[str, Any]:
    range_stats = data.stats
    may_view_workers = request.user.has_perm("taskqueue.view_worker")
    workers = tables.workers(data) if may_view_workers else []
    queue_depth = stats.total_depth(data.queue_depths.values())
    return {
        "stats": range_stats,
        "is_empty": data.is_empty,
        "example_pipeline": example_pipeline_for(request) if data.is_empty else None,
        "cards": stat_cards.stat_cards(range_stats, queue_depth, workers if may_view_workers else None),
        "lag_notice": lag_notice(range_stats),
        "alerts": [tables.alert_row(alert, data.stats.now) for alert in data.alerts[: tables.ALERTS_SHOWN]],
        "alerts_left_out": max(len(data.alerts) - tables.ALERTS_SHOWN, 0),
        "alerts_notice": alerts_notice(data),
        "may_view_alert_rules": request.user.has_perm("taskqueue.view_alertrule"),
        "unserved_queues": tables.unserved_queues(data),
        "is_counting": range_stats.is_rolling_up,
        "repaired": ended_tasks_url(range_stats, range_stats.total, status="succeeded", repaired="yes"),
        "phases": [
            (PHASE_NAMES[name], formats.duration(length)) for name, length in range_stats.total.phases() if length
        ],
        "outcomes": outcomes_chart(range_stats),
        "chart_rows": [chart_row(bar, range_stats) for bar in reversed(range_stats.bars) if bar.ended],
        "latency": latency_chart(range_stats),
        "failure_groups": [failure_group_row(group, range_stats) for group in data.failure_groups],
        "limit_waits": tables.limit_waits(data.limit_waits),
        "may_view_workers": may_view_workers,
        "workers": workers[: tables.WORKERS_SHOWN],
        "workers_left_out": max(len(workers) - tables.WORKERS_SHOWN, 0),
        "may_view_pipelines": request.user.has_perm("taskqueue.view_pipeline"),
        "pipelines": tables.pipelines(data),
        "failures": tables.recent_failures(data),
        "all_failures": list_url("task", status="failed"),
    }


def lag_notice(range_stats: RangeStats) -> str:
    """The notice that the numbers end long before now; empty when they do not."""
    if range_stats.rolled_up_until is None or not range_stats.is_behind:
        return ""
    if range_stats.is_rolling_up:
        is_long = range_stats.now - range_stats.rolled_up_until > timedelta(days=1)
        reached, end = (
            f"{moment:%b %d}" if is_long else f"{moment:%H:%M}"
            for moment in (range_stats.rolled_up_until, range_stats.now)
        )
        return f"Older tasks are still being counted: {reached} of {end}. Tasks that ended later are not included yet."
    return (
        f"Nothing has been counted since {range_stats.rolled_up_until:%b %d, %H:%M} UTC. "
        "manage.py worker does the counting; is one running?"
    )


def alerts_notice(data: OverviewData) -> str:
    """The notice that no worker checks the alert rules; empty when they are checked."""
    if data.alerts_checked_at is None or not are_alerts_unchecked(data):
        return ""
    since = f"{data.alerts_checked_at:%b %d, %H:%M}"
    return f"Alert rules have not been checked since {since} UTC. manage.py worker checks them; is one running?"


def outcomes_chart(range_stats: RangeStats) -> SafeString:
    bars = [
        Bar(
            bar.start,
            (
                BarSegment("green", bar.succeeded - bar.recovered),
                BarSegment("amber", bar.recovered),
                BarSegment("red", bar.failed),
                BarSegment("grey", bar.cancelled),
            ),
            bar_title(bar),
            ended_tasks_url(range_stats, bar),
        )
        for bar in range_stats.bars
    ]
    total = range_stats.total
    label = (
        f"Outcomes of the last {range_stats.range.label}: {total.succeeded:,} succeeded, {total.recovered:,} of them "
        f"after retries, {total.failed:,} failed, {total.cancelled:,} cancelled."
    )
    return stacked_bars(bars, label=label, until=range_stats.until, counted_until=range_stats.counted_until)


def bar_title(bar: Period) -> str:
    parts = [f"{bar.succeeded:,} succeeded"]
    if bar.recovered:
        parts.append(f"{bar.recovered:,} of them after retries")
    parts += [f"{bar.failed:,} failed"] if bar.failed else []
    parts += [f"{bar.cancelled:,} cancelled"] if bar.cancelled else []
    return f"{bar.start:%b %d, %H:%M} to {bar.end:%H:%M} UTC: {', '.join(parts)}"


def latency_chart(range_stats: RangeStats) -> SafeString:
    series = [Line(hue, name, percentile_of(range_stats.bars, share)) for name, share, hue in PERCENTILES]
    values = ", ".join(
        f"{name} {formats.duration(range_stats.total.duration(share))}" for name, share, _hue in PERCENTILES
    )
    label = f"Execution time in the last {range_stats.range.label}: {values}."
    return lines(series, label=label, start=range_stats.start, until=range_stats.until)


def chart_row(bar: Period, range_stats: RangeStats) -> dict[str, Any]:
    """A row of the table with the numbers of both charts."""
    return {
        "begin": f"{bar.start:%b %d, %H:%M}",
        "address": ended_tasks_url(range_stats, bar),
        "period": bar,
        "durations": [formats.duration(bar.duration(share)) for _name, share, _hue in PERCENTILES],
    }


def failure_group_row(group: stats.FailureGroup, range_stats: RangeStats) -> dict[str, Any]:
    """Failed tasks with the same error, with links to all of them and to the last one."""
    filters = {"pipeline": group.pipeline, "failure": format_failure(group.error_type, group.step)}
    return {
        "group": group,
        "message": formats.first_line(group.last_message),
        "last_seen": html.moment(group.last_at, range_stats.now),
        "address": ended_tasks_url(range_stats, range_stats.total, status="failed", **filters),
        "last_address": page_url("task", group.last_task),
    }
