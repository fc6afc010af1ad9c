"""How pipelines do, for the pages that show it: one small door to where the numbers come from."""

from __future__ import annotations

from collections.abc import Iterable

from taskqueue.admin import formats
from taskqueue.engine import samples
from taskqueue.engine.samples import PipelineFigures

__all__ = ["PipelineFigures", "capped", "day_of", "figures_of", "share_of"]


def figures_of(names: Iterable[str]) -> dict[str, PipelineFigures]:
    """The figures of each of these pipelines; one query, whose cost does not grow with the number of tasks."""
    known = list(names)
    found = samples.figures_of(known) if known else {}
    return {name: found.get(name, PipelineFigures(name=name)) for name in known}


def capped(number: int) -> str:
    """A number of what was counted up to a limit."""
    return formats.capped(number, samples.COUNTED_MOST)


def share_of(succeeded: int, failed: int) -> str:
    """The share of those that succeeded among those that ended by themselves; rounded down, for 99.9 is not all."""
    ended = succeeded + failed
    return "" if not ended else f"{succeeded * 100 // ended}%"


def day_of(found: PipelineFigures) -> str:
    """The last 24 hours in words."""
    if not found.made:
        return "no tasks"
    number = f"{'newest ' if found.is_cut else ''}{formats.count_of(found.made, 'task')}"
    failed = f", {found.failed:,} failed" if found.failed else ""
    return f"{number}{failed}"
