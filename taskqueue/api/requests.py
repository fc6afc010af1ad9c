"""What request bodies may hold, beside the payload: that is the pipeline's own affair."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from taskqueue.engine.enqueue.bulk import BATCH_MOST
from taskqueue.engine.enqueue.options import KEY_MAX_LENGTH, LABEL_MAX_LENGTH, LABELS_MAX, Options
from taskqueue.engine.events.send import ID_MAX_LENGTH
from taskqueue.errors import FieldError, InvalidOptions
from taskqueue.models.task import PRIORITY_LIMIT
from taskqueue.policies import EVENT_NAME_MAX

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])+)" *')
YEARS: Final = range(1970, 9000)
"""Further out a time cannot be calculated with: PostgreSQL and Python end at different years."""


def moment(value: object) -> object:
    """Text that is a time as RFC 3339 has it, in UTC; pydantic alone would also take numbers and dates."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not RFC_3339.fullmatch(value):
        raise unfit("it must be a time with an offset, such as 2030-01-31T08:00:00Z")
    if int(value[:4]) not in YEARS:
        raise unfit(f"the year must be from {YEARS.start} to {YEARS.stop - 1}")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except ValueError as error:
        raise unfit(f"there is no such time: {error}") from error


def unfit(detail: str) -> PydanticCustomError:
    """A value's fault, in our words alone."""
    return PydanticCustomError("unfit", "{detail}", {"detail": detail})


def whole(value: object) -> object:
    """JSON has one kind of number: 5.0 is 5."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Moment = Annotated[AwareDatetime, BeforeValidator(moment)]


class Body(BaseModel):
    """A request body: what it does not know it refuses, and it takes no text for a number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Submission(Body):
    """A task to be made."""

    pipeline: str = Field(min_length=1, max_length=200, description="The pipeline's name.")
    payload: Any = Field(description="What the pipeline takes.")
    key: str | None = Field(
        default=None,
        min_length=1,
        max_length=KEY_MAX_LENGTH,
        description="The same key within its window finds the task that it made instead of making another. "
        "The header Idempotency-Key means the same.",
    )
    force: bool = Field(default=False, description="Make a new task all the same; the key then stands for the new one.")
    priority: Annotated[int, BeforeValidator(whole)] = Field(
        default=0,
        ge=-PRIORITY_LIMIT,
        le=PRIORITY_LIMIT,
        description="Seconds by which the task goes before others of the same age.",
    )
    run_at: Moment | None = Field(default=None, description="When it may start; without it, or with a past time, now.")
    labels: dict[str, str] = Field(
        default_factory=dict,
        max_length=LABELS_MAX,
        description=f"Texts of at most {LABEL_MAX_LENGTH} characters by which the task can be found again.",
    )

    def options(self, header: str | None) -> Options:
        """The options of the task.

        Args:
            header: the request's Idempotency-Key, if it has one.

        Raises:
            InvalidOptions: with a pointer for each fault.
        """
        return Options(
            key=chosen_key(self.key, header) or "",
            force=self.force,
            priority=self.priority,
            run_at=self.run_at,
            labels=self.labels,
        )


def chosen_key(key: str | None, header: str | None, *, name: str = "key") -> str | None:
    """The key that body and header agree on.

    Args:
        key: the body's.
        header: the request's Idempotency-Key: as it stands, or quoted as RFC 8941 has a string.
        name: how the body calls it.

    Raises:
        InvalidOptions
    """
    if header is None:
        return key
    if not header or not header.isascii() or not header.isprintable():
        raise bad_key(
            "The header Idempotency-Key must hold printable ASCII characters; other keys fit in the body.",
            pointer=f"/{name}",
        )
    given = unquoted(header, pointer=f"/{name}")
    if key is not None and key != given:
        raise bad_key(f"The {name} in the body and the header Idempotency-Key differ.", pointer=f"/{name}")
    return given


def unquoted(header: str, *, pointer: str) -> str:
    """The key in a header: the draft of Idempotency-Key has it quoted, many clients do not.

    Raises:
        InvalidOptions
    """
    if not header.startswith('"'):
        return header
    if (quoted := QUOTED.fullmatch(header)) is None:
        raise bad_key(
            "The header Idempotency-Key begins with a quotation mark and is no quoted text (RFC 8941).", pointer=pointer
        )
    return re.sub(r"\\(.)", r"\1", quoted[1])


def bad_key(detail: str, *, pointer: str = "/key") -> InvalidOptions:
    """The refusal of a key."""
    return InvalidOptions(detail, [FieldError(pointer, detail)])


class Batch(Body):
    """Many tasks to be made, or none of them."""

    tasks: list[Submission] = Field(min_length=1, max_length=BATCH_MOST)


class RetryRequest(Body):
    """How a task shall be retried."""

    from_step: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Forget the recorded result of the step with this key and of all that were recorded after it.",
    )


class EventSubmission(Body):
    """An event to be sent."""

    name: str = Field(min_length=1, max_length=EVENT_NAME_MAX, description="Its name, printable and without spaces.")
    data: dict[str, Any] = Field(default_factory=dict, description="Its data.")
    id: str | None = Field(
        default=None,
        min_length=1,
        max_length=ID_MAX_LENGTH,
        description="The sender's own id: the same one within 24 hours is the same event, and counts once.",
    )


class PauseRequest(Body):
    """Why a pipeline shall be paused."""

    reason: str = Field(min_length=1, max_length=300, description="For those who ask why their tasks wait.")


class CancelRequest(Body):
    """Why a task is cancelled."""

    reason: str = Field(default="", max_length=300, description="Kept with the task, for people.")


class NoBody(Body):
    """Nothing: this verb takes no options."""
