"""Small pieces of HTML that several pages share. Everything goes through format_html: what is shown may be hostile."""

from __future__ import annotations

from datetime import datetime

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
"""The icon of each status. A status is never told by colour alone: it has a word and a shape too."""


def badge(status: str, *, label: str = "") -> SafeString:
    """A status as word, shape and hue."""
    return format_html(
        '<span class="tq-badge tq-is-{}">{}{}</span>',
        status.replace("_", "-"),
        icon(ICONS[status]),
        label or status.replace("_", " ").capitalize(),
    )


def icon(name: str) -> SafeString:
    """A shape from the sprite; it is for the eye only, the word stands beside it."""
    return format_html(
        '<svg class="tq-icon" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        static("taskqueue/icons.svg"),
        name,
    )


def moment(when: datetime | None, now: datetime) -> SafeString:
    """A time as people say it, with the exact instant in its title."""
    if when is None:
        return format_html("{}", formats.NOTHING)
    return format_html(
        '<time datetime="{}" data-age title="{}">{}</time>',
        when.isoformat(),
        formats.exact(when),
        formats.relative(when, now),
    )


def moment_in_full(when: datetime, now: datetime) -> SafeString:
    """A time as people say it, and beside it the second, which the log of an incident needs."""
    return format_html('{} <span class="tq-note">{}</span>', moment(when, now), formats.second(when))


def due(verb: str, when: datetime, now: datetime) -> SafeString:
    """What happens at a time, which live pages go on to count down: `retries in 4s`, `due now`."""
    return format_html(
        '<time datetime="{}" data-age data-due="{}" title="{}">{}</time>',
        when.isoformat(),
        verb,
        formats.exact(when),
        formats.due(verb, when, now),
    )


def dated(word: str, when: datetime, now: datetime) -> SafeString:
    """A word and its time: `revoked 3d ago`."""
    return format_html("{} {}", word, moment(when, now))


def copy(text: object) -> SafeString:
    """A button that copies a text, where the browser can."""
    return format_html(
        '<button type="button" class="tq-copy" data-copy="{}" aria-label="Copy {}">Copy</button>', text, text
    )


def breakable(name: str) -> SafeString:
    """A name that may end a line after each slash; a browser would rather break its words."""
    return format_html_join(SafeString("/<wbr>"), "{}", ((part,) for part in name.split("/")))


def preformatted(value: object) -> SafeString:
    """A JSON value laid out for reading."""
    return format_html('<pre class="tq-code" tabindex="0">{}</pre>', formats.excerpt(value).text)
