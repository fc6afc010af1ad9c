"""The first claim of a worker that was woken. Each later one is part of a task's end."""

from __future__ import annotations

from collections.abc import Callable

from taskqueue.context import ShouldStop
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.session import WorkerSession, next_request


def first_claim(
    session: WorkerSession,
    stopping: ShouldStop,
    most: int = 1,
    *,
    runs_due: bool = True,
    after_claim: Callable[[], None] = lambda: None,
) -> list[Lease]:
    """Claim the next tasks; without any, run the due work and claim again.

    Args:
        session: the worker.
        stopping: whether nothing is to be claimed any more.
        most: how many tasks.
        runs_due: whether the due work is run.
        after_claim: called after the claim, also if it fails.
    """
    if stopping():
        return []
    session.activity.begin_claim()
    try:
        try:
            leases = claim(next_request(session, most))
        finally:
            after_claim()
        if leases:
            return leases
        return claim(next_request(session, most)) if runs_due and dispatch.run_due(limit=1).queued else []
    finally:
        session.activity.set_idle()  # also after an error: the claim is not pending any more
