"""How many tasks a worker claims at once, and whether another thread of its process could execute them too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.taken_queues import taken_queues
from taskqueue.engine.worker.session import WorkerSession, next_request

MOST_PREFETCHED = 20
"""Tasks that a worker claims at once when its tasks are short: one commit for all of them."""

SHORT = 0.01
"""Seconds. After a longer task the worker claims one task at a time."""

TINY = 0.002
"""Seconds. Threads that execute such tasks at once mostly wait for each other."""

TINY_IN_A_ROW = 3
"""After so many tiny tasks the worker asks whether it claims more."""


class Pace:
    """How short the last tasks of a worker were, and so what it claims after the next one.

    Args:
        session: the worker.
        is_needed: asked after some tiny tasks in a row whether this worker claims more.

    Attributes:
        is_short: whether the last task was executed, and short.
    """

    def __init__(self, session: WorkerSession, is_needed: Callable[[], bool]) -> None:
        self.is_short = False
        self._session, self._is_needed = session, is_needed
        self._most, self._tiny_in_a_row, self._continued = 1, 0, 0

    def note(self, seconds: float | None) -> None:
        """Note how long a task took; None for one that was released."""
        self.is_short = seconds is not None and seconds < SHORT
        self._most = min(self._most * 2, MOST_PREFETCHED) if self.is_short else 1
        self._tiny_in_a_row = self._tiny_in_a_row + 1 if seconds is not None and seconds < TINY else 0

    def request_after(self, lease: Lease) -> ClaimRequest | None:
        """The claim after the execution of a task; None while prefetched tasks are left, or without need.

        After a short parallel step of a limit the worker goes on with the limit, if it may: as often as it could have
        claimed them at once. Then it claims other tasks in their order.
        """
        session, activity = self._session, self._session.activity
        if not activity.prefetched and self._tiny_in_a_row >= TINY_IN_A_ROW and not self._is_needed():
            return None
        request = None if activity.prefetched else next_request(session, self._most)
        is_continuing = self.is_short and lease.parallel_limit is not None and self._continued < MOST_PREFETCHED
        if is_continuing and not activity.held_ends and may_continue(session):
            self._continued += 1
            return replace(request or ClaimRequest(session.worker, 0, session.kind), continues=True)
        if request is not None:
            self._continued = 0
        return request


def may_continue(session: WorkerSession) -> bool:
    """Not where it matters which queue a task is from: in strict order, or with reserved slots."""
    return session.slot is None and not taken_queues().is_strict
