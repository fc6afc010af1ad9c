"""Claims: a worker takes the lease of the next task."""

from __future__ import annotations

import json
from dataclasses import dataclass
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

    @property
    def fence(self) -> dict[str, Any]:
        """The parameters by which every write for the task is fenced."""
        return {"task": self.task, "worker": self.worker, "lease": self.number}


def claim(worker: int) -> Lease | None:
    """Take the next task of a pipeline that this process's code knows; None when none is ready."""
    rows = statements.fetch(statements.CLAIM, claiming(worker))
    return lease_of(worker, rows[0]) if rows else None


def claiming(worker: int) -> dict[str, Any]:
    """The parameters of a claim."""
    return {"claimant": worker, "pipelines": registry.names()}


def lease_of(worker: int, row: tuple[Any, ...]) -> Lease:
    """A claimed row as a lease."""
    task, pipeline, number, payload, labels, key, failures = row
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
