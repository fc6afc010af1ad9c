"""SVG charts drawn on the server: no script, printable, and each bar is a link.

Coordinates are percentages or presentation attributes, because a strict content security policy forbids `style`.
A table below each chart has the same numbers and links, so that a chart is one tab stop instead of sixty.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

LEFT_MARGIN = 6.0
"""Percent of the width for the labels of the vertical axis."""
BOTTOM_MARGIN = 12.0
"""Percent of the height for the labels of the time axis."""
TOP_MARGIN = 5.0
PLOT_HEIGHT = 100 - TOP_MARGIN - BOTTOM_MARGIN
BAR_GAP = 0.18
"""Fraction of a bar's width that stays empty."""
MAX_TIME_LABELS = 6
TIME_STEPS = tuple(
    timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720, 1440, 2880)
)
DAY: Final = 86_400.0
DURATION_STEPS: Final = (
    *(size * unit for unit in (0.001, 0.01, 0.1) for size in (1, 2, 5)),
    *(1.0, 2.0, 5.0, 15.0, 30.0),
    *(minutes * 60.0 for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720)),
)
"""Distances between the grid lines of a duration axis, in seconds."""


@dataclass(frozen=True)
class BarSegment:
    """One colour of a stacked bar: the name of its hue and its value."""

    hue: str
    value: float


@dataclass(frozen=True)
class Bar:
    """A stacked bar: its time, its segments from the bottom up, its tooltip and its link."""

    at: datetime
    segments: tuple[BarSegment, ...]
    title: str
    address: str = ""

    @property
    def value(self) -> float:
        return sum(segment.value for segment in self.segments)


@dataclass(frozen=True)
class Line:
    """A line: the name of its hue, its name, and one value per interval; None is a gap."""

    hue: str
    name: str
    values: Sequence[float | None]


def stacked_bars(bars: Sequence[Bar], *, label: str, until: datetime, counted_until: datetime) -> SafeString:
    """Draw linked bars over time. The time after `counted_until` is hatched: its rollups are not written yet."""
    top = count_axis_end(max((bar.value for bar in bars), default=0))
    width = (100 - LEFT_MARGIN) / max(len(bars), 1)
    drawn = [linked_bar(bar, LEFT_MARGIN + index * width, width, top) for index, bar in enumerate(bars)]
    return format_html(
        '<svg class="tq-chart" role="group" aria-label="{}">{}{}{}{}</svg>',
        label,
        uncounted(bars[0].at, counted_until, until) if bars else "",
        grid([(line * top / 4, count_label(line * top / 4)) for line in range(5)], top),
        format_html_join("", "{}", zip(drawn)),
        time_axis(bars[0].at, until) if bars else "",
    )


def lines(series: Sequence[Line], *, label: str, start: datetime, until: datetime) -> SafeString:
    """Draw durations in seconds over time. A gap stays a gap."""
    values = [value for line in series for value in line.values if value is not None]
    top = duration_axis_end(max(values, default=0))
    drawn = [
        format_html(
            '<path class="tq-stroke tq-hue-{}" d="{}" vector-effect="non-scaling-stroke"><title>{}</title></path>',
            line.hue,
            line_path(line.values, top),
            line.name,
        )
        for line in series
    ]
    return format_html(
        '<svg class="tq-chart" role="img" aria-label="{}">{}'
        '<svg x="{}" y="{}" width="{}" height="{}" viewBox="0 0 100 100" preserveAspectRatio="none">{}</svg>{}</svg>',
        label,
        grid([(line * top / 4, seconds_label(line * top / 4)) for line in range(5)], top),
        percent(LEFT_MARGIN),
        percent(TOP_MARGIN),
        percent(100 - LEFT_MARGIN),
        percent(PLOT_HEIGHT),
        format_html_join("", "{}", zip(drawn)),
        time_axis(start, until),
    )


def sparkline(values: Sequence[float | None], *, hue: str, label: str) -> SafeString:
    top = max((value for value in values if value is not None), default=0) or 1.0
    last = max(len(values) - 1, 1)
    points = [
        f"{number(100 * index / last)},{number(28 - 26 * (value or 0) / top)}" for index, value in enumerate(values)
    ]
    return format_html(
        '<svg class="tq-spark tq-hue-{}" role="img" aria-label="{}" viewBox="0 0 100 30" preserveAspectRatio="none">'
        '<path class="tq-area" d="M0,30 L{} L100,30 Z"></path>'
        '<polyline class="tq-stroke" points="{}" vector-effect="non-scaling-stroke"></polyline></svg>',
        hue,
        label,
        " L".join(points),
        " ".join(points),
    )


def microbars(bars: Sequence[Bar], *, label: str) -> SafeString:
    """Draw bars without axes or links, for a table cell."""
    top = max((bar.value for bar in bars), default=0) or 1.0
    width = 100 / max(len(bars), 1)
    drawn = [rect for index, bar in enumerate(bars) for rect in stack(bar, index * width, width, 0, 100, top)]
    return format_html(
        '<svg class="tq-micro" role="img" aria-label="{}">{}</svg>', label, format_html_join("", "{}", zip(drawn))
    )


def count_axis_end(value: float) -> float:
    """Round a count up to the end of an axis whose four steps are round whole numbers."""
    power = 10.0 ** max(0, math.floor(math.log10(max(value, 1) / 4)))
    steps = (1, 2, 2.5, 5, 10) if power > 1 else (1, 2, 5, 10)
    return next(4 * step * power for step in steps if 4 * step * power >= value)


def duration_axis_end(seconds: float) -> float:
    """Round a duration up to the end of an axis with four steps from `DURATION_STEPS`, or of whole days."""
    for step in DURATION_STEPS:
        if 4 * step >= seconds:
            return 4 * step
    return 4 * count_axis_end(seconds / DAY / 4) * DAY


def uncounted(start: datetime, counted_until: datetime, until: datetime) -> SafeString | str:
    left = LEFT_MARGIN + (100 - LEFT_MARGIN) * ((max(counted_until, start) - start) / (until - start))
    if left >= 100:
        return ""
    return rect("tq-uncounted", left, TOP_MARGIN, 100 - left, PLOT_HEIGHT, title="Not counted yet")


def linked_bar(bar: Bar, left: float, width: float, top: float) -> SafeString:
    if not bar.address:
        return SafeString("")
    # The link is as high as the chart, so that an empty bar can be clicked too.
    return format_html(
        '<a href="{}" tabindex="-1" aria-label="{}"><title>{}</title>{}{}</a>',
        bar.address,
        bar.title,
        bar.title,
        rect("tq-hover-area", left, 0, width, TOP_MARGIN + PLOT_HEIGHT),
        format_html_join("", "{}", zip(stack(bar, left, width, TOP_MARGIN, PLOT_HEIGHT, top))),
    )


def stack(bar: Bar, left: float, width: float, plot_top: float, plot_height: float, top: float) -> Iterable[SafeString]:
    bottom = plot_top + plot_height
    for segment in bar.segments:
        if segment.value <= 0:
            continue
        height = plot_height * segment.value / top
        bottom -= height
        gap = width * BAR_GAP
        yield rect(f"tq-hue-{segment.hue}", left + gap / 2, bottom, width - gap, height)


def rect(css_class: str, left: float, top: float, width: float, height: float, *, title: str = "") -> SafeString:
    return format_html(
        '<rect class="{}" x="{}" y="{}" width="{}" height="{}">{}</rect>',
        css_class,
        *map(percent, (left, top, width, height)),
        format_html("<title>{}</title>", title) if title else "",
    )


def line_path(values: Sequence[float | None], top: float) -> str:
    """An SVG path in a square of 100 by 100. A value between two gaps is a short dash."""
    width = 100 / max(len(values), 1)
    commands, is_drawing = [], False
    for index, value in enumerate(values):
        if value is None:
            is_drawing = False
            continue
        height = number(100 - 100 * value / top)
        middle = (index + 0.5) * width
        if is_drawing:
            commands.append(f"L{number(middle)},{height}")
        else:
            commands.append(f"M{number(middle - width / 4)},{height} L{number(middle)},{height}")
        is_drawing = True
    return " ".join(commands)


def grid(marks: Sequence[tuple[float, str]], top: float) -> SafeString:
    rows = []
    for value, label in marks:
        height = percent(TOP_MARGIN + PLOT_HEIGHT * (1 - value / top))
        rows.append((percent(LEFT_MARGIN), height, height, percent(LEFT_MARGIN - 0.8), height, label))
    return format_html_join(
        "",
        '<line class="tq-grid" x1="{}" x2="100%" y1="{}" y2="{}"></line>'
        '<text class="tq-tick" x="{}" y="{}" dy="3" text-anchor="end">{}</text>',
        rows,
    )


def time_axis(start: datetime, until: datetime) -> SafeString:
    """Labels at round times in UTC."""
    length = until - start
    step = next((step for step in TIME_STEPS if length / step <= MAX_TIME_LABELS), TIME_STEPS[-1])
    midnight = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first = midnight - ((midnight - start) // step) * step
    ticks = [first + index * step for index in range(int(length / step) + 1)]
    rows: list[tuple[str, str, str]] = []
    for index, tick in enumerate(tick for tick in ticks if start <= tick < until - step / 4):
        left = LEFT_MARGIN + (100 - LEFT_MARGIN) * ((tick - start) / length)
        text = time_label(tick, step, is_first=not rows)
        rows.append(("tq-tick tq-odd" if index % 2 else "tq-tick", percent(left), text))
    return format_html_join("", '<text class="{}" x="{}" y="98%" text-anchor="start">{}</text>', rows)


def time_label(tick: datetime, step: timedelta, *, is_first: bool) -> str:
    """The time; with its date at the first tick, the date alone at midnight."""
    if step >= timedelta(days=1) or tick.time() == tick.min.time():
        return f"{tick:%b %d}"
    return f"{tick:%b %d, %H:%M}" if is_first else f"{tick:%H:%M}"


def count_label(value: float) -> str:
    if value >= 1_000_000:
        return f"{number(value / 1_000_000)}M"
    if value >= 1_000:
        return f"{number(value / 1_000)}k"
    return number(value)


def seconds_label(value: float) -> str:
    """A duration on an axis: `50ms`, `30s`, `5m`, `2h`, `3d`."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if value >= 2 * size:
            return f"{number(round(value / size, 1))}{unit}"
    return f"{number(value)}s" if value >= 1 or value == 0 else f"{number(value * 1000)}ms"


def number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def percent(value: float) -> str:
    return number(value) + "%"
