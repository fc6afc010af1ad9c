"""The waterfall of a task: its steps on one time axis, as SVG. Pure functions of times.

Positions are percentages of the width, so that the browser scales them without inline styles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats

MIN_WIDTH = 0.5
"""Of a bar, in percent."""
MAX_TICKS = 6

TICK_STEPS = tuple(
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
"""Round distances between ticks."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A bar of the waterfall. The status gives it its colour; a hollow one used no worker: a wait or a sleep."""

    status: str
    start: datetime
    end: datetime
    label: str
    is_hollow: bool = False

    @property
    def title(self) -> str:
        return f"{self.label}: {formats.duration(self.end - self.start)}, from {formats.exact(self.start)}"


@dataclass(frozen=True)
class Scale:
    start: datetime
    end: datetime
    now: datetime | None = None
    """The present, while the task has not ended."""
    length: timedelta = field(init=False)

    def __post_init__(self) -> None:
        """Compute the length: at least a millisecond, because clocks of two machines may differ."""
        object.__setattr__(self, "length", max(self.end - self.start, timedelta(milliseconds=1)))

    def percent(self, moment: datetime) -> float:
        return round(min(max((moment - self.start) / self.length, 0.0), 1.0) * 100, 2)

    def position(self, start: datetime, end: datetime) -> tuple[float, float]:
        left = self.percent(start)
        width = max(self.percent(end) - left, MIN_WIDTH)
        return round(min(left, 100 - width), 2), round(width, 2)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        step = next((step for step in TICK_STEPS if self.length / step <= MAX_TICKS), self.length / MAX_TICKS)
        return [
            (round(step * number / self.length * 100, 2), tick_label(step * number))
            for number in range(int(self.length / step) + 1)
        ]


def tick_label(length: timedelta) -> str:
    seconds = length.total_seconds()
    if seconds == 0:
        return "0"
    return f"{seconds * 1000:g}ms" if seconds < 1 else formats.compact_duration(seconds)


def axis(scale: Scale) -> SafeString:
    ticks = format_html_join(
        "",
        '<line x1="{}%" x2="{}%" y1="14" y2="20"></line><text x="{}%" y="10" text-anchor="{}">{}</text>',
        ((at, at, at, text_anchor(at), label) for at, label in scale.ticks),
    )
    return format_html('<svg class="tq-axis" height="20" aria-hidden="true" focusable="false">{}</svg>', ticks)


def text_anchor(at: float) -> str:
    # Labels near an edge must not be cut off.
    return "start" if at < 4 else "end" if at > 92 else "middle"


def track(scale: Scale, spans: Sequence[Span], *, backoff_until: datetime | None = None) -> SafeString:
    """One row: its bars in order of time, dashed lines between attempts, and after the last one to `backoff_until`."""
    return format_html(
        '<svg class="tq-track" height="18" role="img" aria-label="{}">{}{}{}{}</svg>',
        "; ".join(f"{span.label}, {formats.duration(span.end - span.start)}" for span in spans) or "nothing yet",
        format_html_join("", '<line class="tq-grid" x1="{}%" x2="{}%" y1="0" y2="18"></line>',
                         ((at, at) for at, _label in scale.ticks)),
        format_html_join("", '<line class="tq-backoff" x1="{}%" x2="{}%" y1="9" y2="9"></line>',
                         backoff_lines(scale, spans, backoff_until)),
        format_html_join("", '<rect class="tq-bar tq-is-{}{}" x="{}%" width="{}%" y="3" height="12" rx="2">'
                         "<title>{}</title></rect>",
                         ((span.status.replace("_", "-"), " tq-hollow" if span.is_hollow else "",
                           *scale.position(span.start, span.end), span.title) for span in spans)),
        now_line(scale),
    )  # fmt: skip


def backoff_lines(scale: Scale, spans: Sequence[Span], until: datetime | None) -> list[tuple[float, float]]:
    ends = [span.start for span in spans[1:]] + ([until] if until is not None and spans else [])
    pairs = (
        (sum(scale.position(span.start, span.end)), scale.percent(end)) for span, end in zip(spans, ends, strict=False)
    )
    return [(round(left, 2), right) for left, right in pairs if right > left]


def now_line(scale: Scale) -> SafeString | str:
    if scale.now is None:
        return ""
    at = scale.percent(scale.now)
    return format_html('<line class="tq-now" x1="{}%" x2="{}%" y1="0" y2="18"></line>', at, at)
