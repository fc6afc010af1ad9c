"""Reserved slots: threads of a process that stay free for the tasks of some queues."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.deployed_pipelines import BodyKind
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.taken_queues import taken_queues

OTHER: Final = ""
"""In place of a queue's name: a queue without reserved slots, several queues, or one that is not known yet."""

Queues = tuple[str, ...] | None
"""The queues that a thread may claim from; None: all that its process takes."""


class Drains(Protocol):
    """A worker that claims nothing while it drains."""

    @property
    def is_draining(self) -> bool: ...


class ReservedSlots:
    """Which queues the next thread of a process may claim from, by what its other threads execute.

    A queue with N reserved slots of which k are in use has N - k open ones. A thread may claim from a queue if as many
    other threads are free as there are open slots of other queues.

    Args:
        reserved: the number of slots of each queue, at most one for each thread in all.
        publish: called with the queues that the next thread may claim from when they change, under the lock.
        on_room: called without the lock after a claim that leaves room for a free thread which was refused it before.
    """

    def __init__(
        self,
        reserved: Mapping[str, int],
        *,
        publish: Callable[[Queues], None] = lambda _queues: None,
        on_room: Callable[[], None] = lambda: None,
    ) -> None:
        self.reserved = reserved
        self.on_room = on_room
        # Held for a moment, never during a statement.
        self.lock = threading.Lock()
        self._publish = publish
        self._published: Queues = None
        self._threads: list[ThreadSlot] = []

    def add_thread(self, worker: Drains) -> ThreadSlot:
        """Count one more thread of the process, with its worker."""
        slot = ThreadSlot(self, worker)
        self._threads.append(slot)
        return slot

    def queues_for(self, slot: ThreadSlot | None = None) -> Queues:
        """The queues that this free thread may claim from, or any free thread. Under the lock."""
        others = [each for each in self._threads if each is not slot]
        used = Counter(each.queue for each in others)
        others_free = sum(each.is_free for each in others) - (slot is None)
        unused = {queue: number - used[queue] for queue, number in self.reserved.items() if number > used[queue]}
        missing = sum(unused.values()) - others_free
        if missing <= 0:
            return None
        if not any(each.is_claiming for each in others):
            missing = 1  # it is more only while threads drain: the queues share the threads that are left
        return tuple(queue for queue, number in unused.items() if number >= missing)

    def queue_of(self, leases: Sequence[Lease]) -> str | None:
        """The queue with reserved slots that all of these tasks are in, else OTHER; None for no tasks."""
        queues = {lease.queue for lease in leases}
        if len(queues) == 1:
            (queue,) = queues
            return queue if queue in self.reserved else OTHER
        return OTHER if queues else None

    def has_room_for_refused(self) -> bool:
        """Whether a free thread may claim from a queue that its last claim left out. Under the lock."""
        return any(each.is_free and each.was_refused() for each in self._threads)

    def publish(self) -> None:
        """Publish what the next thread may claim from, if that has changed. Under the lock."""
        queues = self.queues_for()
        if queues != self._published:
            self._published = queues
            self._publish(queues)


class ThreadSlot:
    """What one thread of a process executes, for the claims of the others.

    A thread that claims counts as executing from before its claim: of two threads that claim at once, only one is
    allowed the last slot that is not reserved. The other one claims from the reserved queues only, also if the first
    one then gets nothing or a task of such a queue; `could_claim_more` and `on_room` tell that it may claim again.
    """

    def __init__(self, slots: ReservedSlots, worker: Drains) -> None:
        self.queue: str | None = None
        """Of its tasks; None when it has none."""
        self.is_claiming = False
        self._slots = slots
        self._worker = worker
        self._claimed_from: Queues = None

    @property
    def is_free(self) -> bool:
        """Whether the thread could claim a task."""
        return self.queue is None and not self._worker.is_draining

    def request(self, worker: int, most: int, kind: BodyKind) -> ClaimRequest | None:
        """The thread's next claim, which begins now; None when it may claim nothing.

        Args:
            worker: the id of its worker's row.
            most: how many tasks to claim. From reserved queues only one: the next one may be of another queue.
            kind: which pipelines.
        """
        with self._slots.lock:
            queues = self._claimed_from = self._slots.queues_for(self)
            self.is_claiming = queues != ()
            self.queue = (queues[0] if queues and len(queues) == 1 else OTHER) if self.is_claiming else None
            self._slots.publish()
        if queues is None:
            return ClaimRequest(worker, most, kind, slot=self)
        return ClaimRequest(worker, 1, kind, taken_queues().only(queues), slot=self) if queues else None

    def note(self, leases: Sequence[Lease]) -> None:
        """Note what the claim got. Tasks of several queues, which the thread executes in turn, are of no queue."""
        with self._slots.lock:
            self.is_claiming = False
            self.queue = self._slots.queue_of(leases)
            has_room = bool(leases) and self._slots.has_room_for_refused()
            self._slots.publish()
        if has_room:
            self._slots.on_room()

    def release(self) -> None:
        """Note that the thread executes nothing, also after a claim whose answer was lost."""
        with self._slots.lock:
            self.queue, self.is_claiming = None, False
            self._slots.publish()

    def could_claim_more(self) -> bool:
        """Whether the thread, which is free, may claim from a queue that its last claim left out."""
        with self._slots.lock:
            return self.was_refused()

    def was_refused(self) -> bool:
        """`could_claim_more`, under the lock."""
        if self._claimed_from is None:
            return False
        queues = self._slots.queues_for(self)
        return queues is None or not set(queues) <= set(self._claimed_from)
