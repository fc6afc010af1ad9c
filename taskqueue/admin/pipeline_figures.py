"""How pipelines do, for the pages that show it: one small door to where the numbers come from."""

from __future__ import annotations

from collections.abc import Iterable

from taskqueue.engine import samples
from taskqueue.engine.samples import PipelineFigures

__all__ = ["PipelineFigures", "capped", "day_of", "figures_of", "share_of"]


def figures_of(names: Iterable[str]) -> dict[str, PipelineFigures]:
    """The figures of each of these pipelines; one query, whose cost does not grow with the number of tasks."""
    known = list(names)
    found = samples.figures_of(known) if known else {}
    return {name: found.get(name, PipelineFigures(name=name)) for name in known}


def capped(number: int) -> str:
    """A count as people read it, which says when it was not counted to its end."""
    return f"{samples.COUNTED_MOST:,}+" if number > samples.COUNTED_MOST else f"{number:,}"


def share_of(succeeded: int, failed: int) -> str:
    """The share of those that succeeded among those that ended by themselves; rounded down, for 99.9 is not all."""
    ended = succeeded + failed
    return "" if not ended else f"{succeeded * 100 // ended}%"


def day_of(found: PipelineFigures) -> str:
    """The last 24 hours in words."""
    if not found.made:
        return "no tasks"
    number = (
        f"newest {found.made:,} tasks" if found.is_cut else "1 task" if found.made == 1 else f"{found.made:,} tasks"
    )
    failed = f", {found.failed:,} failed" if found.failed else ""
    return f"{number}{failed}"
