"""Claims: a worker takes the lease of the next task."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from taskqueue.definitions import PipelineDefinition, fingerprint, registry
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
            lock_gate(gate)
            leases, gate = admit(gate, claimant, passed)
        if leases:
            return leases
    return []


def lock_gate(gate: str) -> None:
    """In a transaction: wait for a pipeline's gate and hold it. Before any task: whoever holds one waits for none."""
    statements.fetch(statements.LOCK_GATE, {"gate": gate})


def admit(
    gate: str, claimant: Claimant, passed: tuple[str, ...], *, freed: str | None = None
) -> tuple[list[Lease], str | None]:
    """Under a gate's lock: let through what its limits allow, and claim what is next by then.

    A statement after the one that waited for the lock: it sees what the last holder has let through.

    Args:
        gate: the pipeline.
        claimant: who wants more to do.
        passed: the gates that need not be looked at any more, this one among them.
        freed: the group whose task has just ended; None when it is not an end that makes room.

    Returns:
        The leases, and the next gate to try when there are none.
    """
    ending = {"freed": freed or "", "by_end": freed is not None}
    values = {"gate": gate, "pipelines": [gate], "codes": [""], "most": claimant.most, **ending}
    statements.fetch(statements.ADMIT, values)
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
    cancel_grace: timedelta | None = None
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


_told: tuple[dict[str, PipelineDefinition], dict[str, Any]] = ({}, {})


def known_code() -> dict[str, Any]:
    """The pipelines that this process's code knows, the fingerprint of each, and those of the old bodies it keeps.

    Made once, and anew when the code defines something else: every claim says it.
    """
    global _told
    pipelines = registry.by_name()
    if not _told[1] or pipelines != _told[0]:
        _told = (dict(pipelines), written_down(registry.all()))
    return _told[1]


def written_down(definitions: list[PipelineDefinition]) -> dict[str, Any]:
    """The parameters that tell the database of these pipelines; lists as PostgreSQL's own text, made only once."""
    kept = {
        definition.name: {version: fingerprint(old) for version, old in definition.versions.items()}
        for definition in definitions
        if definition.versions
    }
    return {
        "pipelines": array(definition.name for definition in definitions),
        "codes": array(fingerprint(definition) for definition in definitions),
        "kept": json.dumps(kept),
    }


def array(texts: Iterable[str]) -> str:
    """Texts as PostgreSQL writes an array of them."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"


COLUMNS = (
    "task", "pipeline", "number", "payload", "labels", "key", "failures", "version", "branch", "depth", "echo", "group",
    "gated", "steps_limited", "cron_at", "parent", "parent_key", "cancel_grace",
)  # fmt: skip
"""What a claim returns, as the lease calls it, before the place in the queue and the gate's name."""


def lease_of(worker: int, row: tuple[Any, ...]) -> Lease:
    """A claimed row as a lease."""
    values = dict(zip(COLUMNS, row, strict=False))
    return Lease(worker=worker, **{**values, "labels": json.loads(values["labels"])})
