"""Claims: a worker takes the lease of the next task."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from taskqueue.definitions import fingerprint, registry
from taskqueue.engine import statements


def claim(claimant: Claimant) -> list[Lease]:
    """Take the next tasks of the pipelines that this process's code knows; none when none is ready."""
    leases, gate = claimant.taken(statements.fetch(statements.CLAIM, claimant.parameters))
    return leases if gate is None else claim_through(gate, claimant)


def claim_through(gate: str | None, claimant: Claimant) -> list[Lease]:
    """Let starts through a pipeline's gate, and take the next tasks; so from gate to gate while there is nothing.

    Each gate in a transaction of its own: two of them locked at once, in one order here and in another order there,
    would be a deadlock.
    """
    passed: tuple[str, ...] = ()
    while gate is not None:
        passed = (*passed, gate)
        with transaction.atomic():
            leases, gate = admit(gate, claimant, passed)
        if leases:
            return leases
    return []


def admit(gate: str, claimant: Claimant, passed: tuple[str, ...]) -> tuple[list[Lease], str | None]:
    """In a transaction: lock a gate, let through it what its limits allow, and claim what is next by then.

    Returns:
        The leases, and the next gate to try when there are none.
    """
    statements.fetch(statements.LOCK_GATE, {"gate": gate})
    # A statement after the one that waited for the lock: it sees what the last holder has let through.
    statements.fetch(statements.ADMIT, {**claimant.parameters, "gate": gate, "pipelines": [gate], "codes": [""]})
    return claimant.taken(statements.fetch(statements.CLAIM, {**claimant.parameters, "passed": list(passed)}))


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
    branch: str = ""
    depth: int = 0
    echo: bool = False
    group: str = ""
    cron_at: datetime | None = None
    parent: UUID | None = None
    parent_key: str = ""
    gated: bool = field(default=False, compare=False)
    """Whether its pipeline's starts are limited: its end may be what the next one waits for."""
    steps_limited: bool = field(default=False, compare=False)
    """Whether its steps need a place of their own."""
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
        return {"claimant": self.worker, "most": self.most, "passed": [], **known_code()}

    def taken(self, rows: list[tuple[Any, ...]]) -> tuple[list[Lease], str | None]:
        """The claimed rows as leases, in the order of the queue, and the gate before which the next one stands."""
        return [lease_of(self.worker, row) for row in rows if row[0] is not None], rows[0][-1]


def known_code() -> dict[str, Any]:
    """The pipelines that this process's code knows, the fingerprint of each, and those of the old bodies it keeps."""
    definitions = registry.all()
    kept = {
        definition.name: {version: fingerprint(old) for version, old in definition.versions.items()}
        for definition in definitions
        if definition.versions
    }
    return {
        "pipelines": [definition.name for definition in definitions],
        "codes": [fingerprint(definition) for definition in definitions],
        "kept": json.dumps(kept),
    }


COLUMNS = (
    "task", "pipeline", "number", "payload", "labels", "key", "failures", "version", "branch", "depth", "echo", "group",
    "gated", "steps_limited", "cron_at", "parent", "parent_key",
)  # fmt: skip
"""What a claim returns, as the lease calls it, before the place in the queue and the gate's name."""


def lease_of(worker: int, row: tuple[Any, ...]) -> Lease:
    """A claimed row as a lease."""
    values = dict(zip(COLUMNS, row, strict=False))
    return Lease(worker=worker, **{**values, "labels": json.loads(values["labels"])})
