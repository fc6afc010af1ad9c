"""Settlement: how an execution ended is written and the next task is claimed, in one statement and one commit."""

from __future__ import annotations

from typing import Any, LiteralString, assert_never

from django.db import transaction

from taskqueue import codec
from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.execution.admission import hold_back
from taskqueue.engine.execution.journal import failed_try
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import Blocked, Failed, Outcome, Paused, Release, RetryLater, Succeeded
from taskqueue.engine.tasks.completion import notify_completion_now
from taskqueue.engine.tasks.suspend import pause
from taskqueue.engine.worker.claims import ClaimRequest, admit, claim, claim_through, lock_concurrency_limit
from taskqueue.states import StepStatus, TaskStatus


def settle(lease: Lease, outcome: Outcome, *, claim_request: ClaimRequest | None) -> list[Lease]:
    """Write how the execution under this lease ended, and claim what is next if someone wants it.

    When the lease is gone nothing is written for its task: whoever holds it now writes its own ending.
    """
    if isinstance(outcome, Paused):
        pause(lease, outcome)
        return claim(claim_request) if claim_request is not None else []
    if isinstance(outcome, Blocked):
        hold_back(lease, outcome)
        return claim(claim_request) if claim_request is not None else []
    statement, values = writing(outcome)
    if isinstance(outcome, Succeeded | Failed) and can_be_cancelled_by_events(lease):
        statement = sql.deaf(statement)
    values.update(lease.fence)
    if lease.notify_completion:
        # Told before the next claim: it may be what that one finds.
        sql.fetch(sql.alone(statement), values)
        if isinstance(outcome, Succeeded | Failed):
            notify_completion_now(lease.task)
        return claim(claim_request) if claim_request is not None else []
    if claim_request is None:
        sql.fetch(sql.alone(statement), values)
        return []
    if lease.is_limited:
        return settle_before_gate(lease, statement, values, claim_request)
    rows = sql.fetch(sql.and_claim(statement), {**values, **claim_request.parameters})
    leases, limited = claim_request.taken(rows)
    return leases if limited is None else claim_through(limited, claim_request)


def can_be_cancelled_by_events(lease: Lease) -> bool:
    """Whether its pipeline says so, for those of its tasks that are no branches."""
    definition = registry.by_name().get(lease.pipeline)
    return definition is not None and bool(definition.policies.cancel_on) and not lease.parallel_step


def settle_before_gate(
    lease: Lease, statement: LiteralString, values: dict[str, Any], claim_request: ClaimRequest
) -> list[Lease]:
    """The same in one commit when this task's end may be what the next one waits for.

    In two statements: the second one sees that the place is free.
    """
    with transaction.atomic():
        lock_concurrency_limit(lease.pipeline)
        sql.fetch(sql.alone(statement), values)
        leases, limited = admit(lease.pipeline, claim_request, (lease.pipeline,), freed=lease.concurrency_key)
    return leases or claim_through(limited, claim_request)


def writing(outcome: Succeeded | Failed | RetryLater | Release) -> tuple[LiteralString, dict[str, Any]]:
    """The statement that writes an outcome, and its parameters but for the fence."""
    match outcome:
        case Succeeded(result, code, drift):
            ended = {"code": code, "drift": drift}
            return sql.FINISH, {"status": TaskStatus.SUCCEEDED, "result": result, "error": None, **ended}
        case RetryLater(failed, wait):
            values = failed_try(failed, step_status=StepStatus.RETRYING)
            return sql.TRY_AGAIN, {**values, "wait": wait, "body_failures": 0 if failed.key else 1}
        case Failed(step, error_type, message, body, code, drift):
            ended = {"code": code, "drift": drift}
            error = codec.write({"type": error_type, "message": message, "step": step or None})
            if body is None:
                return sql.FINISH, {"status": TaskStatus.FAILED, "result": None, "error": error, **ended}
            return sql.FAIL_BODY, {**failed_try(body, step_status=StepStatus.FAILED), "error": error, **ended}
        case Release():
            return sql.PUT_BACK, {}
        case _:
            assert_never(outcome)
