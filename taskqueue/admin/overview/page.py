"""The overview: how the tasks of the last hours went, what needs attention, and what works on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.contrib.admin import AdminSite
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString

from taskqueue import live
from taskqueue.admin.overview import example_pipeline, tables, tiles
from taskqueue.admin.overview.queries import OverviewData, data_of, tag_of
from taskqueue.admin.overview.tables import tasks_at
from taskqueue.admin.overview.tiles import ended_at
from taskqueue.admin.search.parameters import written_failure
from taskqueue.admin.shared import formats, html
from taskqueue.admin.shared.charts import Bar, Line, Part, lines, stacked_bars
from taskqueue.admin.shared.task_details import PHASE_NAMES
from taskqueue.engine.queries import stats
from taskqueue.engine.queries.stats import RANGES, Figures, Range, Stretch
from taskqueue.engine.runtime.locks import ran_out_of_time

USUAL: Final = "6h"
PERCENTILES: Final = (("p50", 0.5, "blue"), ("p95", 0.95, "violet"), ("p99", 0.99, "grey"))


def is_for(request: HttpRequest) -> bool:
    """Whether a user may see it at all."""
    return request.user.has_perm("taskqueue.view_task")


def page(request: HttpRequest, site: AdminSite, extra: dict[str, Any]) -> HttpResponse:
    """The page. One that refreshes itself and has seen all there is gets an empty answer."""
    range_ = RANGES.get(request.GET.get("range", USUAL), RANGES[USUAL])
    try:
        data = data_of(range_)
    except OperationalError as error:
        if not ran_out_of_time(error):
            raise
        return rendered(request, site, range_, {"took_too_long": True})
    tag = tag_of(request, data) if live.HEADER in request.headers else ""
    if tag and request.headers.get("If-None-Match") == tag:
        return HttpResponseNotModified(headers={"ETag": tag})
    response = rendered(request, site, range_, {**content(request, data), **extra})
    if tag:
        response["ETag"] = tag
    return response


def rendered(request: HttpRequest, site: AdminSite, range_: Range, content: dict[str, Any]) -> TemplateResponse:
    """The page with this content."""
    request.current_app = site.name
    context = {
        **site.each_context(request),
        "title": "Overview",
        "range": range_,
        "ranges": list(RANGES.values()),
        **content,
    }
    return TemplateResponse(request, "taskqueue/overview.html", context)


def content(request: HttpRequest, data: OverviewData) -> dict[str, Any]:
    """What the template needs, as far as the user may see it."""
    shown = data.figures
    sees_workers = request.user.has_perm("taskqueue.view_worker")
    workers = tables.workers(data) if sees_workers else []
    standing = stats.standing_in_all(data.standing.values())
    return {
        "figures": shown,
        "is_empty": data.is_empty,
        "first_pipeline": example_pipeline.offered_to(request) if data.is_empty else None,
        "tiles": tiles.tiles_of(shown, standing, workers if sees_workers else None),
        "behind": behind(shown),
        "repaired": ended_at(shown, shown.total, status="succeeded", repaired="yes"),
        "phases": [(PHASE_NAMES[name], formats.duration(length)) for name, length in shown.total.phases() if length],
        "outcomes": outcomes(shown),
        "slices": [Slice.of(bar, shown) for bar in reversed(shown.bars) if bar.ended],
        "latency": latency(shown),
        "troubles": [Group.of(each, shown) for each in data.troubles],
        "lost": tables.lost(data.lost),
        "sees_workers": sees_workers,
        "workers": workers[: tables.WORKERS_SHOWN],
        "workers_left_out": max(len(workers) - tables.WORKERS_SHOWN, 0),
        "sees_pipelines": request.user.has_perm("taskqueue.view_pipeline"),
        "pipelines": tables.pipelines(data),
        "failures": tables.recent_failures(data),
        "all_failures": tasks_at(status="failed"),
    }


def behind(shown: Figures) -> str:
    """What is to be known when the numbers end long before the present; empty as long as they do not."""
    if shown.rolled_up_until is None or not shown.is_behind:
        return ""
    if shown.is_counting:
        far = shown.now - shown.rolled_up_until > timedelta(days=1)
        reached, end = (
            f"{moment:%b %d}" if far else f"{moment:%H:%M}" for moment in (shown.rolled_up_until, shown.now)
        )
        return (
            f"Older tasks are still being counted: {reached} of {end}. What ended after that is not in the numbers yet."
        )
    return (
        f"Nothing has been counted since {shown.rolled_up_until:%b %d, %H:%M} UTC. "
        "The doorbell of manage.py worker does that; is one running?"
    )


def outcomes(shown: Figures) -> SafeString:
    """How the tasks ended, over time."""
    bars = [
        Bar(
            bar.start,
            (
                Part("green", bar.succeeded - bar.recovered),
                Part("amber", bar.recovered),
                Part("red", bar.failed),
                Part("grey", bar.cancelled),
            ),
            sentence_of(bar),
            ended_at(shown, bar),
        )
        for bar in shown.bars
    ]
    total = shown.total
    label = (
        f"How tasks ended in the last {shown.range.words}: {total.succeeded:,} succeeded, {total.recovered:,} of them "
        f"after failed attempts, {total.failed:,} failed, {total.cancelled:,} were cancelled."
    )
    return stacked_bars(bars, label=label, until=shown.until, counted_until=shown.counted_until)


def sentence_of(bar: Stretch) -> str:
    """What a bar says when it is pointed at."""
    parts = [f"{bar.succeeded:,} succeeded"]
    if bar.recovered:
        parts.append(f"{bar.recovered:,} of them after failed attempts")
    parts += [f"{bar.failed:,} failed"] if bar.failed else []
    parts += [f"{bar.cancelled:,} cancelled"] if bar.cancelled else []
    return f"{bar.start:%b %d, %H:%M} to {bar.end:%H:%M} UTC: {', '.join(parts)}"


def latency(shown: Figures) -> SafeString:
    """How long the tasks were executed, over time."""
    series = [Line(hue, name, seconds(shown.bars, share)) for name, share, hue in PERCENTILES]
    told = ", ".join(f"{name} {formats.duration(shown.total.took(share))}" for name, share, _hue in PERCENTILES)
    label = f"How long tasks were executed in the last {shown.range.words}: {told}."
    return lines(series, label=label, start=shown.start, until=shown.until)


def seconds(bars: Sequence[Stretch], share: float) -> list[float | None]:
    """A percentile of each bar."""
    return [None if (took := bar.took(share)) is None else took.total_seconds() for bar in bars]


@dataclass(frozen=True)
class Slice:
    """A row of the table that stands for both charts."""

    begin: str
    address: str
    stretch: Stretch
    took: tuple[str, ...]

    @classmethod
    def of(cls, bar: Stretch, shown: Figures) -> Slice:
        """From a bar."""
        took = tuple(formats.duration(bar.took(share)) for _name, share, _hue in PERCENTILES)
        return cls(f"{bar.start:%b %d, %H:%M}", ended_at(shown, bar), bar, took)


@dataclass(frozen=True)
class Group:
    """Tasks that failed alike, and the ways to all of them and to the last."""

    trouble: stats.Trouble
    message: str
    seen: SafeString
    address: str
    last_address: str

    @classmethod
    def of(cls, trouble: stats.Trouble, shown: Figures) -> Group:
        """From what is failed now."""
        failure = written_failure(trouble.error_type, trouble.step)
        return cls(
            trouble,
            formats.first_line(trouble.last_message),
            html.moment(trouble.last_at, shown.now),
            ended_at(shown, shown.total, status="failed", pipeline=trouble.pipeline, failure=failure),
            reverse("admin:taskqueue_task_change", args=[trouble.last_task]),
        )
