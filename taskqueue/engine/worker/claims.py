"""Claims: a worker takes the lease of the next task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction

from taskqueue.engine import sql
from taskqueue.engine.runtime.deployed_pipelines import deployed_pipelines
from taskqueue.engine.runtime.lease import Lease, lease_of


def claim(claim_request: ClaimRequest) -> list[Lease]:
    """Take the next tasks of the pipelines that this process's code knows; none when none is ready."""
    leases, gate = claim_request.taken(sql.fetch(sql.CLAIM, claim_request.parameters))
    return leases if gate is None else claim_through(gate, claim_request)


def claim_through(gate: str | None, claim_request: ClaimRequest) -> list[Lease]:
    """Let starts through a pipeline's gate, and take the next tasks; so from gate to gate while there is nothing.

    Each gate in a transaction of its own: two of them locked at once, in one order here and in another order there,
    would be a deadlock.
    """
    passed: tuple[str, ...] = ()
    while gate is not None:
        passed = (*passed, gate)
        with transaction.atomic():
            lock_gate(gate)
            leases, gate = admit(gate, claim_request, passed)
        if leases:
            return leases
    return []


def lock_gate(gate: str) -> None:
    """In a transaction: lock a pipeline's gate, before any task: a transaction that holds a task waits for no gate."""
    sql.fetch(sql.LOCK_GATE, {"gate": gate})


def admit(
    gate: str, claim_request: ClaimRequest, passed: tuple[str, ...], *, freed: str | None = None
) -> tuple[list[Lease], str | None]:
    """Under a gate's lock: let through what its limits allow, and claim what is next by then.

    A statement after the one that waited for the lock: it sees what the last holder has let through.

    Args:
        gate: the pipeline.
        claim_request: who wants more to do.
        passed: the gates that need not be looked at any more, this one among them.
        freed: the group whose task has just ended; None when it is not an end that makes room.

    Returns:
        The leases, and the next gate to try when there are none.
    """
    ending = {"freed": freed or "", "by_end": freed is not None}
    values = {"gate": gate, "pipelines": [gate], "codes": [""], "most": claim_request.most, **ending}
    sql.fetch(sql.ADMIT, values)
    return claim_request.taken(sql.fetch(sql.CLAIM, {**claim_request.parameters, "passed": list(passed)}))


@dataclass(frozen=True)
class ClaimRequest:
    """Who wants more to do, and how many tasks at the most."""

    worker: int
    most: int = 1

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of a claim: only pipelines that this process's code knows."""
        return {"claimant": self.worker, "most": self.most, "passed": [], **deployed_pipelines()}

    def taken(self, rows: list[tuple[Any, ...]]) -> tuple[list[Lease], str | None]:
        """The claimed rows as leases, in the order of the queue, and the gate before which the next one stands."""
        return [lease_of(self.worker, row) for row in rows if row[0] is not None], rows[0][-1]
