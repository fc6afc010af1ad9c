"""The tabs above the task list: all tasks, and each status with its count."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from taskqueue.admin.shared import formats, html
from taskqueue.engine import sql
from taskqueue.states import TaskStatus

MAX_COUNT = 999
"""A larger count reads `999+`, because an exact one would need a scan."""


def tabs_of(chosen: Collection[str], address: Callable[..., str], *, has_counts: bool) -> list[dict[str, Any]]:
    """All tabs; statuses without tasks come last. The counts ignore other filters than the status.

    Args:
        address: makes a URL of the list with other parameters, as `ChangeList.get_query_string` does.
    """
    counts = status_counts() if has_counts else {}
    tabs = [tab(address, status.value, counts.get(status.value), is_current=status in chosen) for status in TaskStatus]
    everything = tab(address, "", sum(counts.values()) if counts else None, is_current=not chosen)
    return [everything, *sorted(tabs, key=lambda each: bool(each["is_zero"]))]


def status_counts() -> dict[str, int]:
    """Count the tasks in each status by index, up to one more than `MAX_COUNT`."""
    values = {"statuses": [status.value for status in TaskStatus], "limit": MAX_COUNT + 1}
    return dict(sql.fetch(sql.STATUS_COUNTS, values))


def tab(address: Callable[..., str], status: str, count: int | None, *, is_current: bool) -> dict[str, Any]:
    """The tab of a status; of all tasks for an empty one."""
    return {
        "status": status or "all",
        "label": status.capitalize() or "All",
        "icon": html.icon(html.ICONS[status] if status else "list"),
        "count": "" if count is None else formats.capped(count, MAX_COUNT),
        "address": address({"status": status or None}, ["id__lt"]),
        "is_current": is_current,
        "is_zero": count == 0 and bool(status) and not is_current,
    }
