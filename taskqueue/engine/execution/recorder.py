"""Record the arguments and the result of a step's call in the journal."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from taskqueue.conf import settings
from taskqueue.definitions import StepDefinition
from taskqueue.engine.execution.replay import Call
from taskqueue.engine.execution.secrets import secrets_at
from taskqueue.engine.execution.state import Execution
from taskqueue.engine.runtime.outcomes import Release
from taskqueue.errors import FieldError, InvalidResult, NotSerializable
from taskqueue.json_values import codec


def write_arguments(call: Call) -> None:
    """Keep the call's arguments as JSON, before the author's function can change them."""
    written = call.step.arguments.write(call.args, call.kwargs, what=f"arguments of step {call.key!r}")
    what, limit = f"The arguments of step {call.key!r}", settings().STEP_OUTPUT_MAX_BYTES
    codec.within(written, limit=limit, what=what, setting="STEP_OUTPUT_MAX_BYTES")
    call.arguments = call.lines.arguments = written


def checkpoint(execution: Execution, call: Call, value: object) -> Any:
    """Record what a step returned, and return it as a later execution will replay it.

    Raises:
        InvalidResult, NotSerializable, TooLarge: the value cannot be recorded.
        Suspended: the lease is gone.
    """
    journal = execution.journal
    check_session(execution, call)
    output, replayed = serialize(call.step, call.key, value, used=journal.output_bytes)
    recorded = journal.checkpoint(
        key=call.key,
        name=call.step.name,
        arguments=call.arguments or "",
        output=output,
        elapsed=call.elapsed,
        logs=call.lines.to_json(secrets_of(execution, call)) if call.lines.records else None,
    )
    if recorded is None:
        raise execution.suspend(Release())
    call.is_recorded = True
    # PostgreSQL orders the keys of objects its own way, and a body that iterates must see one order every time.
    return replayed if recorded == output else call.step.result.read(recorded)


def check_session(execution: Execution, call: Call) -> None:
    """Refuse a step that left a transaction open or broke its own, and drop what it has set on the session."""
    session = execution.journal.session
    if call.step.atomic:
        session.check_transaction(call.key, call.depth)
        return
    session.refuse_open_transaction(
        f"Step {call.key!r} began a database transaction and did not end it. Use transaction.atomic()."
    )
    session.restore()


def secrets_of(execution: Execution, call: Call) -> list[str]:
    return secrets_at(execution.journal, call.step, call.arguments)


def serialize(step: StepDefinition, key: str, value: object, *, used: int) -> tuple[str, Any]:
    """A step's output as JSON, and as a later execution will read it.

    Args:
        step: the step that returned the value.
        key: the key of its call.
        value: what it returned.
        used: bytes of the task's outputs so far.

    Raises:
        InvalidResult: it does not fit its annotation.
        NotSerializable, TooLarge: it cannot be recorded, or not be read again.
    """
    refused = f"Step {key!r} did its work, " + (
        "but its result was refused, and so its writes were rolled back."
        if step.atomic
        else "and only its result was refused."
    )
    try:
        output = step.result.write(value, what=f"output of step {key!r}")
    except ValidationError as error:
        raise InvalidResult(f"{refused} It does not fit its annotation: {error}") from error
    except NotSerializable as error:
        raise NotSerializable(f"{refused} {error.detail}", error.errors) from error
    check_size(output, key, used=used)
    try:
        # Read before it is recorded: what cannot be read again fails this attempt, not the next execution.
        return output, step.result.read(output)
    except ValidationError as error:
        detail = f"{refused} The JSON that was written of it cannot be read again: {error}"
        raise NotSerializable(detail, [FieldError("", detail)]) from error


def check_size(output: str, key: str, *, used: int) -> None:
    limits = settings()
    what = f"The output of step {key!r}"
    codec.within(output, limit=limits.STEP_OUTPUT_MAX_BYTES, what=what, setting="STEP_OUTPUT_MAX_BYTES")
    what, limit = f"The sum of this task's outputs, with that of step {key!r},", limits.TASK_OUTPUT_MAX_BYTES
    codec.within(output, used=used, limit=limit, what=what, setting="TASK_OUTPUT_MAX_BYTES")
