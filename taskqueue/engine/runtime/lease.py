"""A worker's right to write for one task."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A worker's right to write for a task, and what the worker needs to know to execute it."""

    task: UUID
    worker: int
    number: int
    pipeline: str
    payload: str
    labels: dict[str, str]
    key: str
    failures: int
    version: str = ""
    parallel_step: str = ""
    depth: int = 0
    notify_completion: bool = False
    concurrency_key: str = ""
    cron_at: datetime | None = None
    parent: UUID | None = None
    parent_key: str = ""
    cancel_grace: timedelta | None = None
    is_limited: bool = field(default=False, compare=False)
    """Whether its pipeline's starts are limited: its end may be what the next one waits for."""
    steps_limited: bool = field(default=False, compare=False)
    """Whether its steps need a place of their own."""
    claimed_at: float = field(default_factory=time.monotonic, compare=False)

    @property
    def fence(self) -> dict[str, Any]:
        """The parameters by which every write for the task is fenced."""
        return {"task": self.task, "worker": self.worker, "lease": self.number}


COLUMNS = (
    "task", "pipeline", "number", "payload", "labels", "key", "failures", "version", "parallel_step", "depth",
    "notify_completion", "concurrency_key",
    "is_limited", "steps_limited", "cron_at", "parent", "parent_key", "cancel_grace",
)  # fmt: skip
"""What a claim returns, as the lease calls it, before the place in the queue and the gate's name."""


def lease_of(worker: int, row: tuple[Any, ...]) -> Lease:
    """A claimed row as a lease."""
    values = dict(zip(COLUMNS, row, strict=False))
    return Lease(worker=worker, **{**values, "labels": json.loads(values["labels"])})
