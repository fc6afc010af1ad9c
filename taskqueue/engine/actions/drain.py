"""Draining: a worker ends what it has in hand and takes nothing new, until somebody lets it go on.

It is a column of the worker's row, which each claim reads: it holds from the next claim on, whatever dies in between,
and a worker that goes on under a new row takes it along.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models.functions import Now

from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.errors import NotDrainable, WorkerNotFound
from taskqueue.models import Worker


def drain_worker(worker_id: int) -> Worker:
    """Let a worker end its task and take no other one.

    Raises:
        WorkerNotFound
        NotDrainable: it has ended, or drains already.
    """
    return change(worker_id, drains=True)


def resume_worker(worker_id: int) -> Worker:
    """Let a draining worker take tasks again.

    Raises:
        WorkerNotFound
        NotDrainable: it has ended, or does not drain.
    """
    return change(worker_id, drains=False)


def change(worker_id: int, *, drains: bool) -> Worker:
    """Compare and swap; the loser is told what the worker does now."""
    with transaction.atomic():
        found = Worker.objects.filter(pk=worker_id, ended_at=None, draining_at__isnull=drains)
        won = found.update(draining_at=Now() if drains else None)
        worker = Worker.objects.filter(pk=worker_id).first()
        if worker is None:
            raise WorkerNotFound(worker_id)
        if not won:
            raise NotDrainable(refusal(worker))
        notify_on_commit()  # idle workers take what this one leaves; a resumed worker takes what is due
    return worker


def refusal(worker: Worker) -> str:
    """Why it cannot be done."""
    if worker.ended_at is not None:
        return f"Worker {worker} has ended."
    return f"Worker {worker} drains already." if worker.draining_at else f"Worker {worker} does not drain."
