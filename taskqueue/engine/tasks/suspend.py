"""Suspend a task: record what its body waits for, and free the worker until all of it has come."""

from __future__ import annotations

from django.db import transaction

from taskqueue.context import Suspension
from taskqueue.engine import sql
from taskqueue.engine.runtime import waits
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import Waiting
from taskqueue.engine.tasks import children
from taskqueue.engine.tracing import carrying
from taskqueue.json_values import codec


def suspend(lease: Lease, paused: Waiting) -> None:
    """Suspend the task. A lost lease writes nothing.

    One transaction: an event or child that resolves a suspension either committed before and is seen here, or waits
    for the task's row.
    """
    with transaction.atomic():
        waits.lock_event_names(paused.pauses)
        if not sql.fetch(sql.LOCK_LEASED_TASK, lease.fence):
            return
        new = {key for (key,) in sql.fetch(sql.RECORD_SUSPENSIONS, parameters(lease, paused.pauses))}
        for pause in paused.pauses:
            waits.register(lease, pause)
        with carrying(paused.traceparent):
            children.create(lease, [pause for pause in paused.pauses if pause.key in new])
        keys = [pause.key for pause in paused.pauses]
        sql.fetch(sql.SUSPEND, {"task": lease.task, "keys": keys, "output_bytes": paused.output_bytes})
        children.cancel_orphans(lease.task)


def parameters(lease: Lease, pauses: tuple[Suspension, ...]) -> dict[str, object]:
    """The parameters of RECORD_SUSPENSIONS, one array element per suspension."""
    return {
        "task": lease.task,
        "keys": [pause.key for pause in pauses],
        "names": [pause.name for pause in pauses],
        "kinds": [pause.kind.value for pause in pauses],
        "inputs": [pause.input for pause in pauses],
        "input_hashes": [codec.fingerprint_of(pause.input) for pause in pauses],
        "untils": [pause.until for pause in pauses],
        "delays": [pause.delay for pause in pauses],
    }
