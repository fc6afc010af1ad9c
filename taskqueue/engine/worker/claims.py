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
    leases, limited = claim_request.taken(sql.fetch(sql.CLAIM, claim_request.parameters))
    return leases if limited is None else claim_through(limited, claim_request)


def claim_through(limited: str | None, claim_request: ClaimRequest) -> list[Lease]:
    """Admit tasks of a limited pipeline and claim the next tasks; go on with the next pipeline while there is none.

    Each limited in a transaction of its own: two of them locked at once, in one order here and in another order there,
    would be a deadlock.
    """
    passed: tuple[str, ...] = ()
    while limited is not None:
        passed = (*passed, limited)
        with transaction.atomic():
            lock_concurrency_limit(limited)
            leases, limited = admit(limited, claim_request, passed)
        if leases:
            return leases
    return []


def lock_concurrency_limit(limited: str) -> None:
    """In a transaction: lock a pipeline's limit before any task. A transaction with a task locked waits for none."""
    sql.fetch(sql.LOCK_CONCURRENCY_LIMIT, {"limited": limited})


def admit(
    limited: str, claim_request: ClaimRequest, passed: tuple[str, ...], *, freed: str | None = None
) -> tuple[list[Lease], str | None]:
    """Under a limited's lock: let through what its limits allow, and claim what is next by then.

    A statement after the one that waited for the lock: it sees what the last holder has let through.

    Args:
        limited: the pipeline.
        claim_request: who wants more to do.
        passed: the gates that need not be looked at any more, this one among them.
        freed: the group whose task has just ended; None when it is not an end that makes room.

    Returns:
        The leases, and the next limited to try when there are none.
    """
    ending = {"freed": freed or "", "by_end": freed is not None}
    values = {"limited": limited, "pipelines": [limited], "codes": [""], "most": claim_request.most, **ending}
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
        """The claimed rows as leases, in the order of the queue, and the limited before which the next one stands."""
        return [lease_of(self.worker, row) for row in rows if row[0] is not None], rows[0][-1]
