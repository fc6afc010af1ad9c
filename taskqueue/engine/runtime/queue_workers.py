"""Which queues there are, and how many workers take each."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Q

from taskqueue.engine import sql
from taskqueue.engine.runtime.liveness import HEARTBEAT_TIMEOUT
from taskqueue.models import Pipeline
from taskqueue.models.pipeline import EFFECTIVE_QUEUE


def queue_workers() -> dict[str, int]:
    """How many live workers take each queue and can claim, by the queue's name; one query."""
    return dict(sql.fetch(sql.QUEUE_WORKERS, {"heartbeat_timeout": HEARTBEAT_TIMEOUT}))


def queues_without_pipelines(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Those of these queues in which no pipeline is, and the queues in which any is; one query."""
    known = set(Pipeline.objects.order_by().values_list(EFFECTIVE_QUEUE, flat=True))
    return [name for name in names if name not in known], sorted(known)


def workers_of(queue: str) -> Q:
    """The condition that a worker takes a queue."""
    return (Q(queues=[]) | Q(queues__contains=[queue])) & ~Q(not_queues__contains=[queue])
