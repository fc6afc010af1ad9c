"""Claims of the threads of a process with reserved slots, without a database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from taskqueue.engine.runtime.deployed_pipelines import BodyKind
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.worker.reserved_slots import ReservedSlots, ThreadSlot
from taskqueue.queues import reserved_slots


@dataclass
class Thread:
    """A worker that drains or not."""

    is_draining: bool = False


def lease_of(queue: str) -> Lease:
    return Lease(
        task=uuid4(), worker=1, number=1, pipeline="p", payload="{}", labels={}, key="", failures=0, queue=queue
    )


def process(reserved: str, threads: int, **options: Any) -> list[ThreadSlot]:
    slots = ReservedSlots(reserved_slots(reserved), **options)
    return [slots.add_thread(Thread()) for _ in range(threads)]


def begin(slot: ThreadSlot, most: int = 1) -> tuple[str, ...] | None:
    """Begin a claim. Returns the queues that it is for; None for all, empty when there is no claim."""
    claim_request = slot.request(1, most, BodyKind.ANY)
    if claim_request is None:
        return ()
    return claim_request.queues.names or None


def get(slot: ThreadSlot, *queues: str) -> None:
    """End the claim with tasks of these queues."""
    slot.note([lease_of(queue) for queue in queues])
