"""Bodies of requests that submit tasks. The payload is checked by the pipeline's own model."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from taskqueue.api.fields import CallbackUrl, Moment, integral
from taskqueue.engine.enqueue.bulk import BULK_MAX
from taskqueue.engine.enqueue.options import KEY_MAX_LENGTH, LABEL_MAX_LENGTH, LABELS_MAX, Options
from taskqueue.errors import FieldError, InvalidOptions
from taskqueue.models.task import PRIORITY_LIMIT

QUOTED: Final = re.compile(r'"((?:[^"\\]|\\["\\])+)" *')


class Body(BaseModel):
    """A request body. Unknown fields and numbers in text are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NoBody(Body):
    """An empty object: there are no options."""


class Submission(Body):
    """A task to submit."""

    pipeline: str = Field(min_length=1, max_length=200, description="The pipeline's name.")
    payload: Any = Field(description="The input of the pipeline.")
    key: str | None = Field(
        default=None,
        min_length=1,
        max_length=KEY_MAX_LENGTH,
        description="Idempotency key: a request with a key that was used before, within its window, returns that task "
        "instead of creating one. The header Idempotency-Key works too.",
    )
    force: bool = Field(
        default=False,
        description="Create a new task even if the key was used before; the key then belongs to the new one.",
    )
    priority: Annotated[int, BeforeValidator(integral)] = Field(
        default=0,
        ge=-PRIORITY_LIMIT,
        le=PRIORITY_LIMIT,
        description="Seconds by which the task is queued ahead of tasks of the same age.",
    )
    run_at: Moment | None = Field(
        default=None, description="When the task may start. Now, if it is missing or in the past."
    )
    labels: dict[str, str] = Field(
        default_factory=dict,
        max_length=LABELS_MAX,
        description=f"Names and values for finding the task; at most {LABEL_MAX_LENGTH} characters each.",
    )

    callback_url: CallbackUrl = ""

    def options(self, header: str | None) -> Options:
        """The options of the task; `header` is the request's Idempotency-Key, if it has one.

        Raises:
            InvalidOptions: with a pointer to each error.
        """
        given = {name: getattr(self, name) for name in ("force", "priority", "run_at", "labels", "callback_url")}
        return Options(key=agreed_key(self.key, header) or "", **given)


class Batch(Body):
    """Tasks to submit together: all or none."""

    tasks: list[Submission] = Field(min_length=1, max_length=BULK_MAX)


def agreed_key(key: str | None, header: str | None, *, field: str = "key") -> str | None:
    """The key from the body or the header.

    Args:
        key: the key in the body.
        header: the request's Idempotency-Key, plain or as a quoted string of RFC 8941: the draft of the header has
            it in quotes, many clients leave them out.
        field: the name of the key's field in the body.

    Raises:
        InvalidOptions: the header is malformed, or differs from the body.
    """
    if header is None:
        return key
    quoted = QUOTED.fullmatch(header)
    given = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else header
    if not header or not header.isascii() or not header.isprintable():
        problem = "The header Idempotency-Key must be printable ASCII. Send other keys in the body."
    elif header.startswith('"') and not quoted:
        problem = "The header Idempotency-Key begins with a quotation mark but is not a quoted string (RFC 8941)."
    elif key not in (None, given):
        problem = f"The {field} in the body and the header Idempotency-Key differ."
    else:
        return given
    raise invalid_key(problem, pointer=f"/{field}")


def invalid_key(detail: str, *, pointer: str) -> InvalidOptions:
    return InvalidOptions(detail, [FieldError(pointer, detail)])
