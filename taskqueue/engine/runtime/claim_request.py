"""A worker's request for its next tasks: the parameters of the claim, and the leases that it gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from taskqueue.engine.runtime.deployed_pipelines import BodyKind, deployed_pipelines
from taskqueue.engine.runtime.lease import Lease, to_lease
from taskqueue.engine.runtime.taken_queues import queue_parameters, taken_queues
from taskqueue.queues import TakenQueues


class ClaimSlot(Protocol):
    """The slot of a worker whose process reserves slots for some queues."""

    def request(self, worker: int, most: int, kind: BodyKind) -> ClaimRequest | None:
        """The worker's next claim, which begins now; None when it may claim nothing."""

    def note(self, leases: Sequence[Lease]) -> None:
        """Note what the claim got."""


@dataclass(frozen=True)
class ClaimRequest:
    """The worker that claims, the maximum number of tasks, the pipelines and queues that it claims tasks of, and the
    slot that is counted for them, if its process reserves slots.

    A request that continues is for the next parallel step of the limit that the ended one had, before all other tasks;
    if there is none, for other tasks, unless the maximum is 0.
    """

    worker: int
    most: int = 1
    kind: BodyKind = BodyKind.ANY
    queues: TakenQueues = field(default_factory=taken_queues)
    slot: ClaimSlot | None = None
    continues: bool = False

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of CLAIM, with the pipelines of this process's code."""
        requested = {"claiming_worker": self.worker, "most": self.most, "skipped": []}
        return {**requested, **deployed_pipelines(self.kind), **queue_parameters(self.queues)}

    def to_leases(self, rows: list[tuple[Any, ...]], *, goes_on: bool = False) -> tuple[list[Lease], str | None]:
        """The claimed rows as leases, in queue order; or none, and the limited pipeline to admit a task of first.

        Args:
            rows: what the claim returned.
            goes_on: whether the worker claims again for this request if it got nothing.
        """
        leases, limited = [to_lease(self.worker, row) for row in rows if row[0] is not None], rows[0][-1]
        if self.slot is not None and (leases or (limited is None and not goes_on)):
            self.slot.note(leases)
        return leases, limited
