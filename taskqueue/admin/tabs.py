"""The tabs above the task list: all tasks, and each status with its number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.safestring import SafeString

from taskqueue.admin import formats, markup
from taskqueue.engine import statements
from taskqueue.states import TaskStatus

if TYPE_CHECKING:
    from taskqueue.admin.task_list import TaskChangeList

MOST = 999
"""Numbers above it read `999+`: nobody needs more of them, and they would cost a scan."""


@dataclass(frozen=True, kw_only=True)
class Tab:
    """One of them.

    Attributes:
        count: empty when the list is narrowed by more than its status, for it would not be that of the list.
    """

    status: str
    label: str
    icon: SafeString
    count: str
    address: str
    is_current: bool
    is_zero: bool


def tabs_of(listed: TaskChangeList, *, has_counts: bool) -> list[Tab]:
    """All of them; statuses in which there is no task come last."""
    counts = counted() if has_counts else {}
    chosen = listed.asked.selection.statuses
    tabs = [tab(listed, status.value, counts.get(status.value), is_current=status in chosen) for status in TaskStatus]
    everything = tab(listed, "", sum(counts.values()) if counts else None, is_current=not chosen)
    return [everything, *sorted(tabs, key=lambda each: each.is_zero)]


def counted() -> dict[str, int]:
    """How many tasks are in each status, counted by index up to one more than is shown."""
    values = {"statuses": [status.value for status in TaskStatus], "limit": MOST + 1}
    return dict(statements.fetch(statements.STATUS_COUNTS, values))


def tab(listed: TaskChangeList, status: str, count: int | None, *, is_current: bool) -> Tab:
    """One of them, leading to the same list in another status."""
    return Tab(
        status=status or "all",
        label=status.capitalize() or "All",
        icon=markup.icon(markup.ICONS[status] if status else "list"),
        count=shown(count),
        address=listed.get_query_string({"status": status or None}, ["id__lt"]),
        is_current=is_current,
        is_zero=count == 0 and bool(status) and not is_current,
    )


def shown(count: int | None) -> str:
    """A number as a tab says it."""
    if count is None:
        return ""
    return formats.capped(count, MOST)
