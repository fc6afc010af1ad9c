"""Which queues there are, and how many workers take each."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Q

from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.runtime.liveness import HEARTBEAT_TIMEOUT


def queue_workers() -> dict[str, int]:
    """How many live workers take each queue and can claim, by the queue's name; one query."""
    values = {"heartbeat_timeout": HEARTBEAT_TIMEOUT, "step_queues": registry.step_queues()}
    return dict(sql.fetch(sql.QUEUE_WORKERS, values))


def queues_without_pipelines(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Those of these queues that are of no pipeline and no step, and the queues of any; one query.

    Queues in which tasks wait count too, also when no code names them any more.
    """
    known = set(queue_workers())
    return [name for name in names if name not in known], sorted(known)


def workers_of(queue: str) -> Q:
    """The condition that a worker takes a queue."""
    return (Q(queues=[]) | Q(queues__contains=[queue])) & ~Q(not_queues__contains=[queue])
