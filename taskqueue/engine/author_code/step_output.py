"""The output of a step as JSON, within the limits of its size."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from taskqueue.conf import settings
from taskqueue.definitions import StepDefinition
from taskqueue.errors import FieldError, InvalidResult, NotSerializable
from taskqueue.json_values import codec


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
