"""Results: what a step returned is checked and written as JSON, and a refusal says that the step's work was done."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from taskqueue import codec
from taskqueue.conf import settings
from taskqueue.definitions import StepDefinition
from taskqueue.errors import FieldError, InvalidResult, NotSerializable


def checked(step: StepDefinition, key: str, value: object, *, used: int) -> tuple[str, Any]:
    """A step's output as JSON, and as a later execution will read it.

    Args:
        step: the step.
        key: under which it is recorded.
        value: what its function returned.
        used: the bytes of the task's outputs before.

    Raises:
        InvalidResult: it does not fit its annotation.
        NotSerializable, TooLarge: it cannot be stored, or not be read again.
    """
    try:
        output = step.result.write(value, what=f"output of step {key!r}")
    except ValidationError as error:
        raise InvalidResult(f"{done(step, key)} It does not fit its annotation: {error}") from error
    except NotSerializable as error:
        raise NotSerializable(f"{done(step, key)} {error.detail}", error.errors) from error
    check_size(output, key, used=used)
    try:
        # Read before it is recorded: what could not be read again is this try's failure, not the next execution's.
        return output, step.result.read(output)
    except ValidationError as error:
        detail = f"{done(step, key)} What was written of it cannot be read again: {error}"
        raise NotSerializable(detail, [FieldError("", detail)]) from error


def done(step: StepDefinition, key: str) -> str:
    """What became of the work of a step whose result is refused."""
    if step.atomic:
        return f"Step {key!r} did its work, but its result was refused, and so its writes were rolled back."
    return f"Step {key!r} did its work, and only its result was refused."


def check_size(output: str, key: str, *, used: int) -> None:
    """See that an output, and all outputs of the task with it, are within their limits.

    Raises:
        TooLarge: they are not.
    """
    limits = settings()
    what = f"The output of step {key!r}"
    codec.within(output, limit=limits.STEP_OUTPUT_MAX_BYTES, what=what, setting="STEP_OUTPUT_MAX_BYTES")
    codec.within(
        output,
        used=used,
        limit=limits.TASK_OUTPUT_MAX_BYTES,
        what=f"The sum of this task's outputs, with that of step {key!r},",
        setting="TASK_OUTPUT_MAX_BYTES",
    )
