"""Pausing: what a body waits for is recorded, and the task gives its worker back until all of it is there."""

from __future__ import annotations

from django.db import transaction

from taskqueue import codec
from taskqueue.context import Pause
from taskqueue.engine import statements, waits
from taskqueue.engine.claims import Lease
from taskqueue.engine.outcomes import Paused


def pause(lease: Lease, paused: Paused) -> None:
    """Let the task wait. Nothing is written when the lease is gone.

    One transaction: whoever resolves one of the pauses either comes before it, and is seen here, or waits for the row.
    """
    with transaction.atomic():
        waits.lock_names(paused.pauses)
        if not statements.fetch(statements.HOLD, lease.fence):
            return
        for each in paused.pauses:
            statements.fetch(statements.RECORD_PAUSE, parameters(lease, each))
            waits.register(lease, each)
        keys = [each.key for each in paused.pauses]
        statements.fetch(statements.SET_WAITING, {"task": lease.task, "keys": keys})


def parameters(lease: Lease, each: Pause) -> dict[str, object]:
    """The parameters that record a pause."""
    return {
        "task": lease.task,
        "key": each.key,
        "name": each.name,
        "kind": each.kind,
        "input": each.input,
        "input_hash": codec.fingerprint_of(each.input),
        "until": each.until,
        "delay": each.delay,
        "child": None,
    }
