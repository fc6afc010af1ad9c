"""The bar of a task's steps: one piece for each, or two shares when there are too many to tell apart."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from taskqueue.admin.shared.task_details import all_of

MOST = 12
GAP = 1.5


def bar_of(done: int, known: int, *, present: str) -> SafeString:
    """The drawing. It is for the eye only: the numbers stand beside it."""
    pieces = format_html_join(
        "",
        '<rect class="tq-piece-{}" x="{}%" width="{}%" height="6" rx="2"></rect>',
        ((kind, f"{x:.2f}", f"{width:.2f}") for kind, x, width in layout(done, known, present=present)),
    )
    return format_html('<svg class="tq-pieces" aria-hidden="true" focusable="false" height="6">{}</svg>', pieces)


def layout(done: int, known: int, *, present: str) -> Iterator[tuple[str, float, float]]:
    """Each piece with its kind, its left end and its width, in percent of the whole."""
    known = max(all_of(done, known, present=present), 1)
    if known > MOST:
        share = 100 * done / known
        yield "done", 0.0, share
        yield present or "ahead", share, 100 - share
        return
    width = 100 / known
    for number in range(known):
        kind = "done" if number < done else present if number == done and present else "ahead"
        yield kind, number * width, width - GAP
