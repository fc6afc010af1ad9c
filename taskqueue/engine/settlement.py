"""Settlement: how an execution ended is written and the next task is claimed, in one statement and one commit."""

from __future__ import annotations

from typing import Any, LiteralString, assert_never

from taskqueue import codec
from taskqueue.engine import statements
from taskqueue.engine.claims import Claimant, Lease
from taskqueue.engine.journal import failed_try
from taskqueue.engine.outcomes import Failed, Outcome, PutBack, Succeeded, TryAgain
from taskqueue.states import StepStatus, TaskStatus


def settle(lease: Lease, outcome: Outcome, *, claimant: Claimant | None) -> list[Lease]:
    """Write how the execution under this lease ended, and claim what is next if someone wants it.

    When the lease is gone nothing is written for its task: whoever holds it now writes its own ending.
    """
    statement, values = writing(outcome)
    values.update(lease.fence)
    if claimant is None:
        statements.fetch(statements.alone(statement), values)
        return []
    return claimant.leases(statements.fetch(statements.and_claim(statement), {**values, **claimant.parameters}))


def writing(outcome: Outcome) -> tuple[LiteralString, dict[str, Any]]:
    """The statement that writes an outcome, and its parameters but for the fence."""
    match outcome:
        case Succeeded(result):
            return statements.FINISH, {"status": TaskStatus.SUCCEEDED, "result": result, "error": None}
        case TryAgain(failed, wait):
            values = failed_try(failed, step_status=StepStatus.RETRYING)
            return statements.TRY_AGAIN, {**values, "wait": wait, "body_failures": 0 if failed.key else 1}
        case Failed(step, error_type, message, body):
            error = codec.write({"type": error_type, "message": message, "step": step or None})
            if body is None:
                return statements.FINISH, {"status": TaskStatus.FAILED, "result": None, "error": error}
            return statements.FAIL_BODY, {**failed_try(body, step_status=StepStatus.FAILED), "error": error}
        case PutBack():
            return statements.PUT_BACK, {}
        case _:
            assert_never(outcome)
