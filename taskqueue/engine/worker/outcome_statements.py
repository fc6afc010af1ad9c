"""Which statement writes the outcome of an execution."""

from __future__ import annotations

from typing import Any, LiteralString, assert_never

from taskqueue.engine import sql
from taskqueue.engine.execution.journal import failed_attempt_values
from taskqueue.engine.runtime.outcomes import Failed, Move, Release, RetryLater, Succeeded
from taskqueue.json_values import codec
from taskqueue.states import StepStatus, TaskStatus


def statement_for(outcome: Succeeded | Failed | RetryLater | Release | Move) -> tuple[LiteralString, dict[str, Any]]:
    """The statement that writes an outcome, and its parameters without the fence."""
    match outcome:
        case Succeeded(result, code, drift, last_step):
            ended = {"status": TaskStatus.SUCCEEDED, "result": result, "error": None, "code": code, "drift": drift}
            return (sql.FINISH, ended) if last_step is None else (sql.FINISH_WITH_STEP, {**ended, **last_step})
        case RetryLater(failed, wait):
            values = failed_attempt_values(failed, step_status=StepStatus.RETRYING)
            return sql.RETRY, {**values, "wait": wait, "body_failures": 0 if failed.key else 1}
        case Failed(step, error_type, message, body, code, drift):
            ended = {"code": code, "drift": drift}
            error = codec.write({"type": error_type, "message": message, "step": step or None})
            if body is None:
                return sql.FINISH, {"status": TaskStatus.FAILED, "result": None, "error": error, **ended}
            return sql.FAIL_BODY, {
                **failed_attempt_values(body, step_status=StepStatus.FAILED),
                "error": error,
                **ended,
            }
        case Release():
            return sql.RELEASE, {}
        case Move(queue, wait):
            return sql.MOVE, {"step_queue": queue, "wait": wait}
        case _:
            assert_never(outcome)
