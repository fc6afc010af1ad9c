"""Samples: what pipelines have in hand, and how their steps do, from a bounded number of tasks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from taskqueue.engine import sql

COUNTED_MOST = sql.COUNTED_MOST


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a pipeline has in hand.

    Attributes:
        held: places that its tasks hold, counted up to one more than COUNTED_MOST.
        queued: tasks that wait for a worker, counted likewise.
    """

    held: int = 0
    queued: int = 0


@dataclass(frozen=True, kw_only=True)
class StepFigures:
    """How a step did in the pipeline's newest tasks.

    Attributes:
        retries: failed tries.
        median: how long half of those that succeeded took at the most.
        tasks: of how many tasks.
    """

    name: str
    kind: str
    succeeded: int = 0
    failed: int = 0
    retries: int = 0
    median: timedelta | None = None
    tasks: int = 0


@dataclass(frozen=True, kw_only=True)
class CodeSeen:
    """Code that ran in the newest tasks.

    Attributes:
        tasks: how many began or ended on it.
        seen_at: when the last of them was made.
    """

    fingerprint: str
    version: str
    tasks: int
    seen_at: datetime


def loads_of(names: Iterable[str]) -> dict[str, Load]:
    """What each of several pipelines has in hand, by name; one query."""
    rows = sql.fetch(sql.LOADS, {"names": list(names)})
    return {name: Load(held=held, queued=queued) for name, held, queued in rows}


def steps_of(pipeline: str) -> list[StepFigures]:
    """The steps that the newest tasks recorded, in the order in which they did."""
    fields = ("name", "kind", "succeeded", "failed", "retries", "median", "tasks")
    rows = sql.fetch(sql.STEP_FIGURES, {"pipeline": pipeline})
    return [StepFigures(**dict(zip(fields, row, strict=True))) for row in rows]


def code_of(pipeline: str) -> list[CodeSeen]:
    """The code that the newest tasks ran on, the last one first."""
    fields = ("fingerprint", "version", "tasks", "seen_at")
    rows = sql.fetch(sql.CODE_SEEN, {"pipeline": pipeline})
    return [CodeSeen(**dict(zip(fields, row, strict=True))) for row in rows]
