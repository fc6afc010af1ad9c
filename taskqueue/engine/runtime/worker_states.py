"""Workers and the state of each, as the API, the command line and the admin show them."""

from __future__ import annotations

from enum import StrEnum

from django.db.models import Case, Q, QuerySet, Value, When
from django.db.models.functions import Now

from taskqueue.engine.runtime.liveness import HEARTBEAT_TIMEOUT
from taskqueue.models import Worker


class WorkerState(StrEnum):
    """The state of a worker."""

    LIVE = "live"
    SILENT = "silent"
    """No heartbeat for too long: its tasks are recovered."""
    CLAIM_ERROR = "claim_error"
    """Its last claims failed."""
    ENDED = "ended"
    DRAINING = "draining"
    """Finishes its tasks and claims no others."""
    DRAINED = "drained"


def with_state(workers: QuerySet[Worker]) -> QuerySet[Worker]:
    """The workers, each with its `state`."""
    state = Case(
        When(ended_at__isnull=False, then=Value(WorkerState.ENDED)),
        When(heartbeat_at__lte=Now() - HEARTBEAT_TIMEOUT, then=Value(WorkerState.SILENT)),
        When(~Q(claim_error=""), then=Value(WorkerState.CLAIM_ERROR)),
        When(draining_at__isnull=False, executing__gt=0, then=Value(WorkerState.DRAINING)),
        When(draining_at__isnull=False, then=Value(WorkerState.DRAINED)),
        default=Value(WorkerState.LIVE),
    )
    return workers.annotate(state=state)


def unended() -> QuerySet[Worker]:
    """The workers that have not ended, with their state, by host and process."""
    return with_state(Worker.objects.filter(ended_at=None)).order_by("host", "pid", "thread", "pk")
