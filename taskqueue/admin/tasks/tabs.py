"""The tabs above the task list: all tasks, and each status with its number."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats, html
from taskqueue.engine import sql
from taskqueue.states import TaskStatus

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


def tabs_of(chosen: Collection[str], address: Callable[..., str], *, has_counts: bool) -> list[Tab]:
    """All of them; statuses in which there is no task come last.

    Args:
        chosen: the statuses of the list that is shown.
        address: of the list with other parameters, as `ChangeList.get_query_string` makes it.
        has_counts: whether each tab tells its number.
    """
    counts = counted() if has_counts else {}
    tabs = [tab(address, status.value, counts.get(status.value), is_current=status in chosen) for status in TaskStatus]
    everything = tab(address, "", sum(counts.values()) if counts else None, is_current=not chosen)
    return [everything, *sorted(tabs, key=lambda each: each.is_zero)]


def counted() -> dict[str, int]:
    """How many tasks are in each status, counted by index up to one more than is shown."""
    values = {"statuses": [status.value for status in TaskStatus], "limit": MOST + 1}
    return dict(sql.fetch(sql.STATUS_COUNTS, values))


def tab(address: Callable[..., str], status: str, count: int | None, *, is_current: bool) -> Tab:
    """One of them, leading to the same list in another status."""
    return Tab(
        status=status or "all",
        label=status.capitalize() or "All",
        icon=html.icon(html.ICONS[status] if status else "list"),
        count=shown(count),
        address=address({"status": status or None}, ["id__lt"]),
        is_current=is_current,
        is_zero=count == 0 and bool(status) and not is_current,
    )


def shown(count: int | None) -> str:
    """A number as a tab says it."""
    if count is None:
        return ""
    return formats.capped(count, MOST)
