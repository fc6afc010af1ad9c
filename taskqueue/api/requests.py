"""Models of request bodies. The payload is checked by the pipeline's own model."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from taskqueue.engine.enqueue.bulk import BULK_MAX
from taskqueue.engine.enqueue.options import KEY_MAX_LENGTH, LABEL_MAX_LENGTH, LABELS_MAX, Options
from taskqueue.engine.events.send import ID_MAX_LENGTH
from taskqueue.errors import FieldError, InvalidOptions
from taskqueue.models.task import PRIORITY_LIMIT
from taskqueue.policies import EVENT_NAME_MAX

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])+)" *')
YEARS: Final = range(1970, 9000)
"""PostgreSQL and Python support different years; both can calculate with these."""


def rfc_3339(value: object) -> object:
    """A time in UTC from RFC 3339 text. Pydantic alone would also accept numbers and dates."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not RFC_3339.fullmatch(value):
        raise invalid("it must be a time with an offset, such as 2030-01-31T08:00:00Z")
    if int(value[:4]) not in YEARS:
        raise invalid(f"the year must be from {YEARS.start} to {YEARS.stop - 1}")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except ValueError as error:
        raise invalid(f"there is no such time: {error}") from error


def invalid(detail: str) -> PydanticCustomError:
    return PydanticCustomError("invalid", "{detail}", {"detail": detail})


def integral(value: object) -> object:
    """5 for 5.0: JSON has one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Moment = Annotated[AwareDatetime, BeforeValidator(rfc_3339)]


class Body(BaseModel):
    """A request body. Unknown fields and numbers in text are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


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

    def options(self, header: str | None) -> Options:
        """The options of the task.

        Args:
            header: the request's Idempotency-Key, if it has one.

        Raises:
            InvalidOptions: with a pointer to each error.
        """
        return Options(
            key=agreed_key(self.key, header) or "",
            force=self.force,
            priority=self.priority,
            run_at=self.run_at,
            labels=self.labels,
        )


def agreed_key(key: str | None, header: str | None, *, field: str = "key") -> str | None:
    """The key from the body or the header.

    Args:
        key: the key in the body.
        header: the request's Idempotency-Key, plain or as a quoted string of RFC 8941.
        field: the name of the key's field in the body.

    Raises:
        InvalidOptions: the header is malformed, or differs from the body.
    """
    if header is None:
        return key
    if not header or not header.isascii() or not header.isprintable():
        raise invalid_key(
            "The header Idempotency-Key must be printable ASCII. Send other keys in the body.",
            pointer=f"/{field}",
        )
    given = unquoted(header, pointer=f"/{field}")
    if key is not None and key != given:
        raise invalid_key(f"The {field} in the body and the header Idempotency-Key differ.", pointer=f"/{field}")
    return given


def unquoted(header: str, *, pointer: str) -> str:
    """The key in the header. The draft of Idempotency-Key has it in quotes, many clients leave them out.

    Raises:
        InvalidOptions
    """
    if not header.startswith('"'):
        return header
    if (quoted := QUOTED.fullmatch(header)) is None:
        raise invalid_key(
            "The header Idempotency-Key begins with a quotation mark but is not a quoted string (RFC 8941).",
            pointer=pointer,
        )
    return re.sub(r"\\(.)", r"\1", quoted[1])


def invalid_key(detail: str, *, pointer: str = "/key") -> InvalidOptions:
    return InvalidOptions(detail, [FieldError(pointer, detail)])


class Batch(Body):
    """Tasks to submit together: all or none."""

    tasks: list[Submission] = Field(min_length=1, max_length=BULK_MAX)


class RetryRequest(Body):
    """How to retry a task."""

    from_step: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Run the step with this key, and all that were recorded after it, again.",
    )


class EventSubmission(Body):
    """An event to send."""

    name: str = Field(
        min_length=1, max_length=EVENT_NAME_MAX, description="The event's name, printable and without spaces."
    )
    data: dict[str, Any] = Field(default_factory=dict, description="The event's data.")
    id: str | None = Field(
        default=None,
        min_length=1,
        max_length=ID_MAX_LENGTH,
        description="The sender's own id. An event with an id that was used in the last 24 hours is not sent again.",
    )


class PauseRequest(Body):
    """Why to pause a pipeline."""

    reason: str = Field(min_length=1, max_length=300, description="Shown to people whose tasks wait.")


class CancelRequest(Body):
    """Why to cancel a task."""

    reason: str = Field(default="", max_length=300, description="Shown with the task.")


class NoBody(Body):
    """An empty object: there are no options."""
