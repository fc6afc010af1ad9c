"""Charts as SVG, drawn here so that no script is needed: they print, they are tested, and each bar is a link.

Coordinates are percent or presentation attributes: a strict content security policy allows no style attribute. Whoever
cannot see a chart, or point at it, finds the same numbers and links in the table that folds out below it; so a chart
is one stop of the Tab key and not sixty.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

LEFT = 6.0
"""Percent of the width that the labels of the upright axis take."""
BOTTOM = 12.0
"""Percent of the height that the labels of the times take."""
TOP = 5.0
ROOM = 100 - TOP - BOTTOM
GAP = 0.18
"""Of a bar's width, left free beside it."""
LABELS = 6
STEPS = tuple(timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720, 1440, 2880))


@dataclass(frozen=True)
class Part:
    """One colour of a bar: the name of its hue and how much."""

    hue: str
    value: float


@dataclass(frozen=True)
class Bar:
    """A bar with its parts from the ground up, what it says, and where it leads."""

    at: datetime
    parts: tuple[Part, ...]
    title: str
    address: str = ""

    @property
    def value(self) -> float:
        """Its height."""
        return sum(part.value for part in self.parts)


@dataclass(frozen=True)
class Line:
    """A line: the name of its hue, and a value for each moment, None where there is nothing to tell."""

    hue: str
    name: str
    values: Sequence[float | None]


DAY: Final = 86_400.0
CLOCK: Final = (
    *(size * unit for unit in (0.001, 0.01, 0.1) for size in (1, 2, 5)),
    *(1.0, 2.0, 5.0, 15.0, 30.0),
    *(minutes * 60.0 for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720)),
)
"""Distances between the lines of an axis, in seconds."""


def number(value: float) -> str:
    """A coordinate."""
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def share(value: float) -> str:
    """A coordinate as a share of the whole."""
    return number(value) + "%"


def count_top(value: float) -> float:
    """The end of an axis of counts, not below the value: its four steps are whole numbers that people count in."""
    power = 10.0 ** max(0, math.floor(math.log10(max(value, 1) / 4)))
    steps = (1, 2, 2.5, 5, 10) if power > 1 else (1, 2, 5, 10)
    return next(4 * step * power for step in steps if 4 * step * power >= value)


def time_top(seconds: float) -> float:
    """The same of durations: its steps are what clocks count in, and powers of ten below a second and beyond a day."""
    for step in CLOCK:
        if 4 * step >= seconds:
            return 4 * step
    return 4 * count_top(seconds / DAY / 4) * DAY


def sparkline(values: Sequence[float | None], *, hue: str, label: str) -> SafeString:
    """A line without axes, filled to the ground; what is unknown counts as nothing."""
    top = max((value for value in values if value is not None), default=0) or 1.0
    last = max(len(values) - 1, 1)
    points = [
        f"{number(100 * place / last)},{number(28 - 26 * (value or 0) / top)}" for place, value in enumerate(values)
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
    """Bars without axes or links, for a row of a table."""
    top = max((bar.value for bar in bars), default=0) or 1.0
    width = 100 / max(len(bars), 1)
    drawn = [rect for place, bar in enumerate(bars) for rect in stack(bar, place * width, width, 0, 100, top)]
    return format_html(
        '<svg class="tq-micro" role="img" aria-label="{}">{}</svg>', label, format_html_join("", "{}", zip(drawn))
    )


def stacked_bars(bars: Sequence[Bar], *, label: str, until: datetime, counted_until: datetime) -> SafeString:
    """Bars over time, each of which is a link. What has not been counted yet is hatched."""
    top = count_top(max((bar.value for bar in bars), default=0))
    width = (100 - LEFT) / max(len(bars), 1)
    drawn = [linked(bar, LEFT + place * width, width, top) for place, bar in enumerate(bars)]
    return format_html(
        '<svg class="tq-chart" role="group" aria-label="{}">{}{}{}{}</svg>',
        label,
        uncounted(bars[0].at, counted_until, until) if bars else "",
        grid([(line * top / 4, count_label(line * top / 4)) for line in range(5)], top),
        format_html_join("", "{}", zip(drawn)),
        time_axis(bars[0].at, until) if bars else "",
    )


def uncounted(start: datetime, counted_until: datetime, until: datetime) -> SafeString | str:
    """The end of the axis for which there are no numbers yet."""
    left = LEFT + (100 - LEFT) * ((max(counted_until, start) - start) / (until - start))
    if left >= 100:
        return ""
    return format_html(
        '<rect class="tq-uncounted" x="{}" y="{}" width="{}" height="{}"><title>Not counted yet</title></rect>',
        share(left),
        share(TOP),
        share(100 - left),
        share(ROOM),
    )


def linked(bar: Bar, left: float, width: float, top: float) -> SafeString:
    """A bar as a link. It is as high as the chart, so that an empty one can be pointed at too."""
    if not bar.address:
        return SafeString("")
    return format_html(
        '<a href="{}" tabindex="-1" aria-label="{}"><title>{}</title>'
        '<rect class="tq-hit" x="{}" y="0" width="{}" height="{}"></rect>{}</a>',
        bar.address,
        bar.title,
        bar.title,
        share(left),
        share(width),
        share(TOP + ROOM),
        format_html_join("", "{}", zip(stack(bar, left, width, TOP, ROOM, top))),
    )


def stack(bar: Bar, left: float, width: float, above: float, room: float, top: float) -> Iterable[SafeString]:
    """The parts of a bar from the ground up."""
    ground = above + room
    for part in bar.parts:
        if part.value <= 0:
            continue
        height = room * part.value / top
        ground -= height
        yield format_html(
            '<rect class="tq-hue-{}" x="{}" y="{}" width="{}" height="{}"></rect>',
            part.hue,
            share(left + width * GAP / 2),
            share(ground),
            share(width * (1 - GAP)),
            share(height),
        )


def lines(series: Sequence[Line], *, label: str, start: datetime, until: datetime) -> SafeString:
    """Lines of durations in seconds over time. A gap stays a gap."""
    known = [value for line in series for value in line.values if value is not None]
    top = time_top(max(known, default=0))
    drawn = [
        format_html(
            '<path class="tq-stroke tq-hue-{}" d="{}" vector-effect="non-scaling-stroke"><title>{}</title></path>',
            line.hue,
            path_of(line.values, top),
            line.name,
        )
        for line in series
    ]
    return format_html(
        '<svg class="tq-chart" role="img" aria-label="{}">{}'
        '<svg x="{}" y="{}" width="{}" height="{}" viewBox="0 0 100 100" preserveAspectRatio="none">{}</svg>{}</svg>',
        label,
        grid([(line * top / 4, seconds_label(line * top / 4)) for line in range(5)], top),
        share(LEFT),
        share(TOP),
        share(100 - LEFT),
        share(ROOM),
        format_html_join("", "{}", zip(drawn)),
        time_axis(start, until),
    )


def path_of(values: Sequence[float | None], top: float) -> str:
    """The way of a line in a square of a hundred. A value with nothing beside it is a short dash."""
    width = 100 / max(len(values), 1)
    commands, pen_is_down = [], False
    for place, value in enumerate(values):
        if value is None:
            pen_is_down = False
            continue
        height = number(100 - 100 * value / top)
        middle = (place + 0.5) * width
        if pen_is_down:
            commands.append(f"L{number(middle)},{height}")
        else:
            commands.append(f"M{number(middle - width / 4)},{height} L{number(middle)},{height}")
        pen_is_down = True
    return " ".join(commands)


def grid(marks: Sequence[tuple[float, str]], top: float) -> SafeString:
    """The lines across, with what they stand for."""
    rows = []
    for value, label in marks:
        height = share(TOP + ROOM * (1 - value / top))
        rows.append((share(LEFT), height, height, share(LEFT - 0.8), height, label))
    return format_html_join(
        "",
        '<line class="tq-grid" x1="{}" x2="100%" y1="{}" y2="{}"></line>'
        '<text class="tq-tick" x="{}" y="{}" dy="3" text-anchor="end">{}</text>',
        rows,
    )


def time_axis(start: datetime, until: datetime) -> SafeString:
    """The times below, at round ones, in UTC."""
    length = until - start
    step = next((step for step in STEPS if length / step <= LABELS), STEPS[-1])
    midnight = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first = midnight - ((midnight - start) // step) * step
    ticks = [first + place * step for place in range(int(length / step) + 1)]
    rows: list[tuple[str, str, str]] = []
    for place, tick in enumerate(tick for tick in ticks if start <= tick < until - step / 4):
        left = LEFT + (100 - LEFT) * ((tick - start) / length)
        text = time_label(tick, step, is_first=not rows)
        rows.append(("tq-tick tq-odd" if place % 2 else "tq-tick", share(left), text))
    return format_html_join("", '<text class="{}" x="{}" y="98%" text-anchor="start">{}</text>', rows)


def time_label(tick: datetime, step: timedelta, *, is_first: bool) -> str:
    """A time on an axis. The first one and each midnight tell the date."""
    if step >= timedelta(days=1):
        return f"{tick:%b %d}"
    if tick.time() == tick.min.time():
        return f"{tick:%b %d}"
    return f"{tick:%b %d, %H:%M}" if is_first else f"{tick:%H:%M}"


def count_label(value: float) -> str:
    """A number of tasks on an axis."""
    if value >= 1_000_000:
        return f"{number(value / 1_000_000)}M"
    if value >= 1_000:
        return f"{number(value / 1_000)}k"
    return number(value)


def seconds_label(value: float) -> str:
    """A duration on an axis."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if value >= 2 * size:
            return f"{number(round(value / size, 1))}{unit}"
    return f"{number(value)}s" if value >= 1 or value == 0 else f"{number(value * 1000)}ms"
