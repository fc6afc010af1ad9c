"""Hold the ends of short tasks of idempotent pipelines, and write them together (docs/adr/0014-held-ends.md)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from django.db import Error

from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.execution.activity import take_all
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.database_errors import is_refusal
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import Outcome, Succeeded
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.limited_claims import claimed
from taskqueue.engine.worker.settle import settle_or_fail

End = tuple[Lease, Succeeded]
HeldEnds = deque[End]

STEP_PARAMETERS: Final = {
    "keys": "key",
    "names": "name",
    "kinds": "kind",
    "inputs": "input",
    "input_hashes": "input_hash",
    "outputs": "output",
    "logs": "logs",
    "elapsed": "elapsed",
}
"""The arrays of FINISH_MANY, by the parameters of CHECKPOINT that they contain."""


def hold(held: HeldEnds, lease: Lease, outcome: Outcome) -> bool:
    """Hold the end of a task until others are written. Returns whether it may be held.

    A crash loses it, and the task is executed again. So only a task of an idempotent pipeline is held, and not if
    anything waits for its end: a limit, a parent, a handler, an event's waits. Nor if it was claimed before: it was
    lost together with other tasks, and must not be lost again because of one of them.
    """
    if not isinstance(outcome, Succeeded) or not can_be_held(lease):
        return False
    held.append((lease, outcome))
    return True


def settle_with_held(
    held: HeldEnds, lease: Lease, outcome: Outcome, claim_request: ClaimRequest | None
) -> tuple[Outcome, list[Lease]]:
    """Write the outcome of an execution; before a claim the held ends too, in one commit if it could be held as well.

    An outcome that may not be held is written first: its last step may not be recorded yet, and must not wait for the
    ends of other tasks.

    Args:
        held: the ends to write. Emptied before a claim.
        lease: the lease of the execution.
        outcome: how it ended.
        claim_request: None for no claim.

    Returns:
        The outcome as it was written, and the claimed leases.

    Raises:
        django.db.Error, DatabaseLost: what was written is unknown. A task whose end was not written is executed again.
    """
    if held and hold(held, lease, outcome):
        return outcome, write_held(held, claim_request)
    if not held or claim_request is None:
        return settle_or_fail(lease, outcome, claim_request)
    outcome, _none = settle_or_fail(lease, outcome, claim_request=None)
    return outcome, write_held(held, claim_request)


def write_held(held: HeldEnds, claim_request: ClaimRequest | None = None) -> list[Lease]:
    """Write the held ends, and claim the next tasks. Returns the claimed leases.

    Raises:
        django.db.Error, DatabaseLost: as `settle_with_held`.
    """
    ends = take_all(held)
    if ends:
        try:
            return finish_and_claim(ends, claim_request)
        except Error as error:
            if not is_refusal(error):
                raise
        for lease, outcome in ends:  # one by one, so that only the refused one fails
            settle_or_fail(lease, outcome, claim_request=None)
    return claim(claim_request)


def can_be_held(lease: Lease) -> bool:
    definition = registry.by_name().get(lease.pipeline)
    if definition is None or not definition.policies.idempotent or definition.policies.cancel_on:
        return False
    is_awaited = lease.is_limited or lease.notify_completion or lease.parallel_step
    return lease.number == 1 and not is_awaited


def finish_and_claim(ends: Sequence[End], claim_request: ClaimRequest | None) -> list[Lease]:
    values = finish_values(ends)
    if claim_request is None:
        sql.fetch(sql.standalone(sql.FINISH_MANY), values)
        return []
    return claimed(sql.fetch(sql.with_claim(sql.FINISH_MANY), {**values, **claim_request.parameters}), claim_request)


def finish_values(ends: Sequence[End]) -> dict[str, Any]:
    """The parameters of FINISH_MANY."""
    steps = [outcome.last_step or {} for _lease, outcome in ends]
    return {
        "tasks": [lease.task for lease, _outcome in ends],
        "workers": [lease.worker for lease, _outcome in ends],
        "leases": [lease.number for lease, _outcome in ends],
        "results": [outcome.result for _lease, outcome in ends],
        "fingerprints": [outcome.code for _lease, outcome in ends],
        "drifts": [outcome.drift for _lease, outcome in ends],
        **{array: [step.get(name) for step in steps] for array, name in STEP_PARAMETERS.items()},
    }
