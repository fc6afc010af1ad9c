"""The tabs above the task list: all tasks, and each status with its count."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats, html
from taskqueue.engine import sql
from taskqueue.states import TaskStatus

MAX_COUNT = 999
"""A larger count reads `999+`, because an exact one would need a scan."""


@dataclass(frozen=True, kw_only=True)
class Tab:
    """One tab.

    Attributes:
        count: empty when the list has other filters, because the count would ignore them.
    """

    status: str
    label: str
    icon: SafeString
    count: str
    address: str
    is_current: bool
    is_zero: bool


def tabs_of(chosen: Collection[str], address: Callable[..., str], *, has_counts: bool) -> list[Tab]:
    """All tabs; statuses without tasks come last.

    Args:
        chosen: the statuses that the list shows.
        address: makes a URL of the list with other parameters, as `ChangeList.get_query_string` does.
        has_counts: show the counts.
    """
    counts = status_counts() if has_counts else {}
    tabs = [tab(address, status.value, counts.get(status.value), is_current=status in chosen) for status in TaskStatus]
    everything = tab(address, "", sum(counts.values()) if counts else None, is_current=not chosen)
    return [everything, *sorted(tabs, key=lambda each: each.is_zero)]


def status_counts() -> dict[str, int]:
    """Count the tasks in each status by index, up to one more than `MAX_COUNT`."""
    values = {"statuses": [status.value for status in TaskStatus], "limit": MAX_COUNT + 1}
    return dict(sql.fetch(sql.STATUS_COUNTS, values))


def tab(address: Callable[..., str], status: str, count: int | None, *, is_current: bool) -> Tab:
    """The tab of a status; of all tasks for an empty one."""
    return Tab(
        status=status or "all",
        label=status.capitalize() or "All",
        icon=html.icon(html.ICONS[status] if status else "list"),
        count="" if count is None else formats.capped(count, MAX_COUNT),
        address=address({"status": status or None}, ["id__lt"]),
        is_current=is_current,
        is_zero=count == 0 and bool(status) and not is_current,
    )
