"""Small pieces of HTML that several pages share. `format_html` escapes every value, because values may be hostile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats

ICONS = {
    "scheduled": "calendar",
    "queued": "clock",
    "running": "ring",
    "waiting": "pause",
    "retrying": "again",
    "succeeded": "check",
    "failed": "cross",
    "cancelled": "slash",
    # of attempts
    "timed_out": "clock",
    "lost": "question",
    # of steps that have not run
    "pending": "dash",
    # of operations
    "planned": "clock",
    "done": "check",
    "aborted": "slash",
    # of workers
    "live": "check",
    "silent": "question",
    "claim_error": "cross",
    "ended": "slash",
    "draining": "stop",
    "drained": "pause",
}
"""The icon of each status: a badge has a word and a shape, never a colour alone."""


def badge(status: str, *, label: str = "") -> SafeString:
    return format_html(
        '<span class="tq-badge tq-is-{}">{}{}</span>',
        status.replace("_", "-"),
        icon(ICONS[status]),
        label or status.replace("_", " ").capitalize(),
    )


def icon(name: str) -> SafeString:
    """An icon of the sprite, hidden from screen readers: the word is next to it."""
    return format_html(
        '<svg class="tq-icon" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        static("taskqueue/icons.svg"),
        name,
    )


def moment(when: datetime | None, now: datetime) -> SafeString:
    """A relative time, with the exact time in its tooltip."""
    if when is None:
        return format_html("{}", formats.EMPTY_VALUE)
    return format_html(
        '<time datetime="{}" data-age title="{}">{}</time>',
        when.isoformat(),
        formats.exact(when),
        formats.relative(when, now),
    )


def moment_column(name: str, field: str) -> Callable[[Any, Any], SafeString]:
    """A method for `list_display`: the relative time of a field of rows that have `seen_at`."""

    @admin.display(description=name)
    def column(_admin: Any, row: Any) -> SafeString:
        return moment(getattr(row, field), row.seen_at)

    return column


def with_note(value: object, note: object) -> SafeString:
    """A cell's value with a note below it; the value alone when the note is empty."""
    return format_html('{}<span class="tq-under">{}</span>', value, note) if note else format_html("{}", value)


def meter(value: int, most: int, *, label: str, text: str, is_full: bool = False) -> SafeString:
    """A meter with a label for screen readers and its numbers next to it."""
    return format_html(
        '<span class="tq-meter{}"><progress max="{}" value="{}" aria-label="{}"></progress> {}</span>',
        " tq-is-full" if is_full else "",
        most,
        value,
        label,
        text,
    )


def moment_with_seconds(when: datetime, now: datetime) -> SafeString:
    """A relative time, and the time with seconds next to it."""
    return format_html('{} <span class="tq-note">{}</span>', moment(when, now), formats.time_to_second(when))


def due(verb: str, when: datetime, now: datetime) -> SafeString:
    """A countdown such as `retries in 4s`, which live.js updates."""
    return format_html(
        '<time datetime="{}" data-age data-due="{}" title="{}">{}</time>',
        when.isoformat(),
        verb,
        formats.exact(when),
        formats.due(verb, when, now),
    )


def copy_button(text: object) -> SafeString:
    """A button that copies a text; hidden in browsers without a clipboard."""
    return format_html(
        '<button type="button" class="tq-copy" data-copy="{}" aria-label="Copy {}">Copy</button>', text, text
    )


def wrap_at_slashes(name: str) -> SafeString:
    """A name in which the browser may wrap after a slash, and only there."""
    return format_html_join(SafeString("/<wbr>"), "{}", ((part,) for part in name.split("/")))
