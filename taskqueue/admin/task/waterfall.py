"""The waterfall of a task: its steps on one axis of time, as SVG. Pure: rows come in as moments and go out as shapes.

Positions are shares of the width, so that the browser scales them and nothing needs an inline style.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats

NARROWEST = 0.5
"""Least width of a bar, in hundredths."""
TICKS = 6
"""Most ticks on the axis."""

STEPS = tuple(
    timedelta(milliseconds=1) * size
    for unit, sizes in (
        (1, (1, 2, 5, 10, 20, 50, 100, 200, 500)),
        (1_000, (1, 2, 5, 10, 15, 30)),
        (60_000, (1, 2, 5, 10, 15, 30)),
        (3_600_000, (1, 2, 3, 6, 12)),
        (86_400_000, (1, 2, 7, 14)),
    )
    for size in (size * unit for size in sizes)
)
"""Distances between ticks that people count in."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """Something that went on from one moment to another.

    Attributes:
        look: a status, which gives its hue.
        what: says what it is.
        is_hollow: it held no worker: a wait or a sleep.
    """

    look: str
    start: datetime
    end: datetime
    what: str
    is_hollow: bool = False

    @property
    def title(self) -> str:
        """What it was, how long, and when."""
        return f"{self.what}: {formats.duration(self.end - self.start)}, from {formats.exact(self.start)}"


@dataclass(frozen=True)
class Scale:
    """An axis of time."""

    start: datetime
    end: datetime
    now: datetime | None = None
    """The present, while the task goes on."""
    length: timedelta = field(init=False)

    def __post_init__(self) -> None:
        """An axis has some length, whatever the clocks say."""
        object.__setattr__(self, "length", max(self.end - self.start, timedelta(milliseconds=1)))

    def share(self, moment: datetime) -> float:
        """Where a moment lies, in hundredths; what lies outside is drawn at the edge."""
        return round(min(max((moment - self.start) / self.length, 0.0), 1.0) * 100, 2)

    def span(self, start: datetime, end: datetime) -> tuple[float, float]:
        """Where a bar begins and how wide it is: never too narrow to see, never beyond the edge."""
        left = self.share(start)
        width = max(self.share(end) - left, NARROWEST)
        return round(min(left, 100 - width), 2), round(width, 2)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Where the ticks are, and what they say."""
        between = next((step for step in STEPS if self.length / step <= TICKS), self.length / TICKS)
        count = int(self.length / between)
        return [
            (round(between * number / self.length * 100, 2), tick_label(between * number))
            for number in range(count + 1)
        ]


def tick_label(length: timedelta) -> str:
    """A round length of time without the units that are zero."""
    seconds = length.total_seconds()
    if seconds == 0:
        return "0"
    return f"{seconds * 1000:g}ms" if seconds < 1 else formats.wait_length(seconds)


def axis(scale: Scale) -> SafeString:
    """The ticks with their words. The last ones end at their tick, so that none is cut off."""
    ticks = format_html_join(
        "",
        '<line x1="{}%" x2="{}%" y1="14" y2="20"></line><text x="{}%" y="10" text-anchor="{}">{}</text>',
        ((at, at, at, anchor(at), label) for at, label in scale.ticks),
    )
    return format_html('<svg class="tq-axis" height="20" aria-hidden="true" focusable="false">{}</svg>', ticks)


def anchor(at: float) -> str:
    """On which side of its tick a label stands."""
    return "start" if at < 4 else "end" if at > 92 else "middle"


def track(scale: Scale, bars: Sequence[Bar], *, backoff_to: datetime | None = None) -> SafeString:
    """A row's bars in order of time, with a dashed line from each failed try to the next one.

    Args:
        scale: the axis.
        bars: what is drawn.
        backoff_to: the last of them failed, and the next try is not before this.
    """
    return format_html(
        '<svg class="tq-track" height="18" role="img" aria-label="{}">{}{}{}{}</svg>',
        "; ".join(f"{bar.what}, {formats.duration(bar.end - bar.start)}" for bar in bars) or "nothing yet",
        format_html_join("", '<line class="tq-grid" x1="{}%" x2="{}%" y1="0" y2="18"></line>',
                         ((at, at) for at, _label in scale.ticks)),
        format_html_join("", '<line class="tq-backoff" x1="{}%" x2="{}%" y1="9" y2="9"></line>',
                         gaps(scale, bars, backoff_to)),
        format_html_join("", '<rect class="tq-bar tq-is-{}{}" x="{}%" width="{}%" y="3" height="12" rx="2">'
                         "<title>{}</title></rect>",
                         ((bar.look.replace("_", "-"), " tq-hollow" if bar.is_hollow else "",
                           *scale.span(bar.start, bar.end), bar.title) for bar in bars)),
        now_line(scale),
    )  # fmt: skip


def gaps(scale: Scale, bars: Sequence[Bar], until: datetime | None) -> list[tuple[float, float]]:
    """Where the dashed lines go."""
    ends = [bar.start for bar in bars[1:]] + ([until] if until is not None and bars else [])
    places = ((sum(scale.span(bar.start, bar.end)), scale.share(end)) for bar, end in zip(bars, ends, strict=False))
    return [(round(left, 2), right) for left, right in places if right > left]


def now_line(scale: Scale) -> SafeString | str:
    """The present, while the task goes on."""
    if scale.now is None:
        return ""
    at = scale.share(scale.now)
    return format_html('<line class="tq-now" x1="{}%" x2="{}%" y1="0" y2="18"></line>', at, at)
