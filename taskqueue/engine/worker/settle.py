"""Settle an execution: write its outcome and claim the next task.

For a plain task that is one statement and one commit. A limited one, and one whose end is announced, take more.
"""

from __future__ import annotations

from django.db import Error

from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.execution.step_admission import block_task
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.database_errors import error_line, error_name, is_refusal
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.engine.runtime.outcomes import Blocked, Failed, Move, Outcome, Succeeded, Waiting
from taskqueue.engine.runtime.taken_queues import taken_queues
from taskqueue.engine.tasks.completion import notify_completion_now
from taskqueue.engine.tasks.suspend import suspend
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.last_step import last_step_kept
from taskqueue.engine.worker.limited_claims import claimed, settle_limited
from taskqueue.engine.worker.outcome_statements import statement_for
from taskqueue.engine.worker.parallel_ends import settle_parallel_step
from taskqueue.json_values.codec import printable


def settle(lease: Lease, outcome: Outcome, *, claim_request: ClaimRequest | None) -> list[Lease]:
    """Write the outcome of an execution, and claim the next tasks.

    Under a lost lease nothing is written: the worker that has the task now writes its outcome.

    Args:
        lease: the lease of the execution.
        outcome: how it ended.
        claim_request: None for no claim.

    Returns:
        The claimed leases.

    Raises:
        django.db.Error, DatabaseLost: whether it was written is unknown, unless the database has refused it.
    """
    with last_step_kept(lease, outcome):
        leases = write_outcome(lease, outcome, claim_request)
    if isinstance(outcome, Move) or is_slot_for_others(lease, outcome):
        notify_on_commit()
    return leases


def settle_or_fail(lease: Lease, outcome: Outcome, claim_request: ClaimRequest | None) -> tuple[Outcome, list[Lease]]:
    """Settle. A result that the database cannot store fails the task, else it would be retried for ever."""
    try:
        return outcome, settle(lease, outcome, claim_request=claim_request)
    except Error as error:
        if not isinstance(outcome, Succeeded) or not is_refusal(error):
            raise
        # Without its drift, which may be what was refused.
        failed = Failed("", error_name(error), printable(error_line(error)), code=outcome.code)
        return failed, settle(lease, failed, claim_request=claim_request)


def write_outcome(lease: Lease, outcome: Outcome, claim_request: ClaimRequest | None) -> list[Lease]:
    if isinstance(outcome, Waiting):
        suspend(lease, outcome)
    elif isinstance(outcome, Blocked):
        block_task(lease, outcome)
    elif lease.parallel_step and lease.parent is not None and isinstance(outcome, Succeeded | Failed):
        return settle_parallel_step(lease, outcome, claim_request)
    else:
        statement, values = statement_for(outcome)
        if isinstance(outcome, Succeeded | Failed) and can_be_cancelled_by_events(lease):
            statement = sql.close_waits(statement)
        values.update(lease.fence)
        if claim_request is not None and not lease.notify_completion:
            if lease.is_limited and isinstance(outcome, Succeeded | Failed):
                return settle_limited(lease, statement, values, claim_request)
            rows = sql.fetch(sql.with_claim(statement), {**values, **claim_request.parameters})
            return claimed(rows, claim_request)
        sql.fetch(sql.standalone(statement), values)
        if lease.notify_completion and isinstance(outcome, Succeeded | Failed):
            notify_completion_now(lease.task)  # before the claim, which may then find its parent
    return claim(claim_request)


def is_slot_for_others(lease: Lease, outcome: Outcome) -> bool:
    """Whether the end has freed a slot that this worker cannot use: the task was in the queue of a step."""
    has_ended = isinstance(outcome, Succeeded | Failed)
    return has_ended and lease.is_limited and not taken_queues().takes(lease.pipeline_queue)


def can_be_cancelled_by_events(lease: Lease) -> bool:
    """Whether the task's pipeline has `cancel_on`, and it is no parallel step."""
    definition = registry.by_name().get(lease.pipeline)
    return definition is not None and bool(definition.policies.cancel_on) and not lease.parallel_step
