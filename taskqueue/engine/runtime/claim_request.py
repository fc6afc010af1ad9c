"""A worker's request for its next tasks: the parameters of the claim, and the leases that it gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from taskqueue.engine.runtime.deployed_pipelines import BodyKind, deployed_pipelines
from taskqueue.engine.runtime.lease import Lease, to_lease
from taskqueue.engine.runtime.taken_queues import queue_parameters


@dataclass(frozen=True)
class ClaimRequest:
    """The worker that claims, the maximum number of tasks, and the pipelines that it claims tasks of."""

    worker: int
    most: int = 1
    kind: BodyKind = BodyKind.ANY

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of CLAIM, with the pipelines of this process's code and the queues that it takes."""
        requested = {"claiming_worker": self.worker, "most": self.most, "skipped": []}
        return {**requested, **deployed_pipelines(self.kind), **queue_parameters()}

    def to_leases(self, rows: list[tuple[Any, ...]]) -> tuple[list[Lease], str | None]:
        """The claimed rows as leases, in queue order; or none, and the limited pipeline to admit a task of first."""
        return [to_lease(self.worker, row) for row in rows if row[0] is not None], rows[0][-1]
