"""Claim tasks: a worker gets the lease of the next tasks in the queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction

from taskqueue.engine import sql
from taskqueue.engine.runtime.deployed_pipelines import deployed_pipelines
from taskqueue.engine.runtime.lease import Lease, to_lease


def claim(claim_request: ClaimRequest) -> list[Lease]:
    """Claim the next tasks of this process's pipelines; empty when none is ready."""
    leases, limited = claim_request.to_leases(sql.fetch(sql.CLAIM, claim_request.parameters))
    return leases if limited is None else admit_and_claim(limited, claim_request)


def admit_and_claim(limited: str | None, claim_request: ClaimRequest) -> list[Lease]:
    """Admit tasks of a limited pipeline and claim the next tasks; without any, go on with the next limited pipeline.

    Each pipeline has its own transaction: two processes that lock two limits in different orders would deadlock.
    """
    skipped: tuple[str, ...] = ()
    while limited is not None:
        skipped = (*skipped, limited)
        with transaction.atomic():
            lock_concurrency_limit(limited)
            leases, limited = admit(limited, claim_request, skipped)
        if leases:
            return leases
    return []


def lock_concurrency_limit(limited: str) -> None:
    """Lock a pipeline's limit, before any task: a transaction that has locked a task never waits for a limit."""
    sql.fetch(sql.LOCK_CONCURRENCY_LIMIT, {"limited": limited})


def admit(
    limited: str, claim_request: ClaimRequest, skipped: tuple[str, ...], *, freed_key: str | None = None
) -> tuple[list[Lease], str | None]:
    """Under the lock of a pipeline's limits: admit the tasks that they allow, and claim the next tasks.

    The statements come after the one that waited for the lock, so they see what the last holder has admitted.

    Args:
        limited: the pipeline.
        claim_request: the worker that claims.
        skipped: pipelines to admit no more tasks from, with this one.
        freed_key: the concurrency key of the task that has just ended; None when no end has freed a slot.

    Returns:
        The leases, and the next limited pipeline to admit from when there are none.
    """
    ended = {"freed_key": freed_key or "", "at_task_end": freed_key is not None}
    values = {"limited": limited, "pipelines": [limited], "codes": [""], "most": claim_request.most, **ended}
    sql.fetch(sql.ADMIT, values)
    return claim_request.to_leases(sql.fetch(sql.CLAIM, {**claim_request.parameters, "skipped": list(skipped)}))


@dataclass(frozen=True)
class ClaimRequest:
    """The worker that claims, and the maximum number of tasks."""

    worker: int
    most: int = 1

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of CLAIM, with the pipelines that this process has the code of."""
        return {"claiming_worker": self.worker, "most": self.most, "skipped": [], **deployed_pipelines()}

    def to_leases(self, rows: list[tuple[Any, ...]]) -> tuple[list[Lease], str | None]:
        """The claimed rows as leases, in queue order, and the pipeline whose blocked task comes first, if one does."""
        return [to_lease(self.worker, row) for row in rows if row[0] is not None], rows[0][-1]
