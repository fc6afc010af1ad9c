"""Pausing: what a body waits for is recorded, and the task gives its worker back until all of it is there."""

from __future__ import annotations

from django.db import transaction

from taskqueue import codec
from taskqueue.context import Pause
from taskqueue.engine import sql
from taskqueue.engine.runtime import waits
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import Paused
from taskqueue.engine.tasks import children


def pause(lease: Lease, paused: Paused) -> None:
    """Let the task wait. Nothing is written when the lease is gone.

    One transaction: whoever resolves one of the pauses either comes before it, and is seen here, or waits for the row.
    """
    with transaction.atomic():
        waits.lock_names(paused.pauses)
        if not sql.fetch(sql.HOLD, lease.fence):
            return
        new = {key for (key,) in sql.fetch(sql.RECORD_PAUSE, parameters(lease, paused.pauses))}
        for each in paused.pauses:
            waits.register(lease, each)
        children.make(lease, [each for each in paused.pauses if each.key in new])
        keys = [each.key for each in paused.pauses]
        values = {"task": lease.task, "keys": keys, "output_bytes": paused.output_bytes}
        sql.fetch(sql.SET_WAITING, values)
        children.forget(lease.task)


def parameters(lease: Lease, pauses: tuple[Pause, ...]) -> dict[str, object]:
    """The parameters that record pauses, all by one statement."""
    return {
        "task": lease.task,
        "keys": [each.key for each in pauses],
        "names": [each.name for each in pauses],
        "kinds": [each.kind.value for each in pauses],
        "inputs": [each.input for each in pauses],
        "input_hashes": [codec.fingerprint_of(each.input) for each in pauses],
        "untils": [each.until for each in pauses],
        "delays": [each.delay for each in pauses],
    }
