"""The lease of a task: a worker's right to write for it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A worker's right to write for a task, and what the worker needs to execute it."""

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
    parallel_limit: int | None = field(default=None, compare=False)
    depth: int = 0
    notify_completion: bool = False
    concurrency_key: str = ""
    cron_at: datetime | None = None
    parent: UUID | None = None
    parent_key: str = ""
    cancel_grace: timedelta | None = None
    is_limited: bool = field(default=False, compare=False)
    """Whether its pipeline has a concurrency limit, so that the next task may wait for this one's end."""
    steps_limited: bool = field(default=False, compare=False)
    """Whether each of its steps needs a slot."""
    passes_slot: bool = field(default=False, compare=False)
    """Whether the next task of its pipeline may take its slot without the lock of the limit."""
    queue: str = field(default="", compare=False)
    """The queue that it was claimed from: of its pipeline, or of a step."""
    pipeline_queue: str = field(default="", compare=False)
    """The queue of its pipeline; the task may have been claimed from that of a step."""
    traceparent: str = field(default="", compare=False)
    """The trace that the task continues; empty for none."""
    claimed_at: float = field(default_factory=time.monotonic, compare=False)

    @property
    def fence(self) -> dict[str, Any]:
        """The parameters that fence every write for the task."""
        return {"task": self.task, "worker": self.worker, "lease": self.number}


COLUMNS = (
    "task", "pipeline", "number", "payload", "labels", "key", "failures", "version", "parallel_step", "depth",
    "notify_completion", "concurrency_key",
    "is_limited", "steps_limited", "passes_slot", "cron_at", "parent", "parent_key", "cancel_grace", "queue",
    "pipeline_queue", "parallel_limit", "traceparent",
)  # fmt: skip
"""The columns that a claim returns first, by the lease's names for them."""


def to_lease(worker: int, row: tuple[Any, ...]) -> Lease:
    values = dict(zip(COLUMNS, row, strict=False))
    return Lease(worker=worker, **{**values, "labels": json.loads(values["labels"])})
