"""Drain a worker: it finishes its current task and claims no other one until it is resumed.

It is a column of the worker's row, which each claim reads, so it survives a crash. A worker that gets a new row, since
it was presumed dead, copies the column.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models.functions import Now

from taskqueue.engine.access.actor import SYSTEM, Actor
from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.errors import NotDrainable, WorkerNotFound
from taskqueue.models import Worker


def drain_worker(worker_id: int, *, actor: Actor = SYSTEM) -> Worker:
    """Drain a worker.

    Raises:
        WorkerNotFound
        NotDrainable: it has ended, or drains already.
    """
    return set_draining(worker_id, actor, draining=True)


def resume_worker(worker_id: int, *, actor: Actor = SYSTEM) -> Worker:
    """Let a draining worker claim tasks again.

    Raises:
        WorkerNotFound
        NotDrainable: it has ended, or does not drain.
    """
    return set_draining(worker_id, actor, draining=False)


def set_draining(worker_id: int, actor: Actor, *, draining: bool) -> Worker:
    """Compare and swap: of two concurrent callers the second one gets NotDrainable."""
    with transaction.atomic():
        rows = Worker.objects.filter(pk=worker_id, ended_at=None, draining_at__isnull=draining)
        changed = rows.update(draining_at=Now() if draining else None)
        worker = Worker.objects.filter(pk=worker_id).first()
        if worker is None:
            raise WorkerNotFound(worker_id)
        if not changed:
            raise NotDrainable(refusal(worker))
        notify_on_commit()  # idle workers claim what this one leaves; a resumed worker claims what is due
        actor.record(worker, "Drained." if draining else "Resumed.")
    return worker


def refusal(worker: Worker) -> str:
    if worker.ended_at is not None:
        return f"Worker {worker} has ended."
    return f"Worker {worker} drains already." if worker.draining_at else f"Worker {worker} does not drain."
