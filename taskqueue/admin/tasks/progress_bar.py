"""The progress bar of a task's steps: a piece per step, or two pieces when there are too many steps."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from taskqueue.admin.shared.task_details import step_count

MAX_PIECES = 12
GAP = 1.5


def draw(done: int, known: int, *, current: str) -> SafeString:
    """The bar as SVG, hidden from screen readers: the numbers are next to it."""
    pieces = format_html_join(
        "",
        '<rect class="tq-piece-{}" x="{}%" width="{}%" height="6" rx="2"></rect>',
        ((kind, f"{left:.2f}", f"{width:.2f}") for kind, left, width in layout(done, known, current=current)),
    )
    return format_html('<svg class="tq-progress-bar" aria-hidden="true" focusable="false" height="6">{}</svg>', pieces)


def layout(done: int, known: int, *, current: str) -> Iterator[tuple[str, float, float]]:
    known = max(step_count(done, known, current=current), 1)
    if known > MAX_PIECES:
        share = 100 * done / known
        yield "done", 0.0, share
        yield current or "pending", share, 100 - share
        return
    width = 100 / known
    for number in range(known):
        kind = "done" if number < done else current if number == done and current else "pending"
        yield kind, number * width, width - GAP
