"""Claims: a worker takes the lease of the next task."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from taskqueue.definitions import registry
from taskqueue.engine import statements


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
    claimed_at: float = field(default_factory=time.monotonic, compare=False)

    @property
    def fence(self) -> dict[str, Any]:
        """The parameters by which every write for the task is fenced."""
        return {"task": self.task, "worker": self.worker, "lease": self.number}


@dataclass(frozen=True)
class Claimant:
    """Who wants more to do, and how many tasks at the most."""

    worker: int
    most: int = 1

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of a claim: only pipelines that this process's code knows."""
        return {"claimant": self.worker, "most": self.most, "pipelines": registry.names()}

    def leases(self, rows: list[tuple[Any, ...]]) -> list[Lease]:
        """The claimed rows as leases, in the order of the queue."""
        return [lease_of(self.worker, row) for row in rows]


def claim(claimant: Claimant) -> list[Lease]:
    """Take the next tasks of the pipelines that this process's code knows; none when none is ready."""
    return claimant.leases(statements.fetch(statements.CLAIM, claimant.parameters))


def lease_of(worker: int, row: tuple[Any, ...]) -> Lease:
    """A claimed row as a lease."""
    task, pipeline, number, payload, labels, key, failures, _sort_at = row
    return Lease(
        task=task,
        worker=worker,
        number=number,
        pipeline=pipeline,
        payload=payload,
        labels=json.loads(labels),
        key=key,
        failures=failures,
    )
