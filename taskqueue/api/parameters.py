"""What query parameters may hold."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from taskqueue import codec
from taskqueue.api.problems import InvalidQuery
from taskqueue.api.requests import Moment, unfit
from taskqueue.errors import FieldError
from taskqueue.states import TaskStatus

if TYPE_CHECKING:
    from django.http import QueryDict

PAGE_SIZE = 50
LONGEST_PAGE = 200
LONGEST_WAIT = 60


@dataclass(frozen=True)
class Cursor:
    """A place between two rows of a list, and the way to look from there."""

    row: UUID
    older: bool

    def __str__(self) -> str:
        """The cursor as callers see it."""
        return base64.urlsafe_b64encode(self.row.bytes + (b"o" if self.older else b"n")).rstrip(b"=").decode()

    @classmethod
    def read(cls, text: str) -> Cursor:
        """The cursor that a caller gives back."""
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) != 17 or raw[16:] not in (b"o", b"n"):
            raise unfit("it must be a next_cursor or previous_cursor from an earlier answer")
        return cls(UUID(bytes=raw[:16]), older=raw[16:] == b"o")


def storable(text: str) -> str:
    """Text that PostgreSQL can compare with."""
    for fault in codec.text_faults(text, ""):
        raise unfit(fault.detail)
    return text


def split(texts: list[str]) -> list[str]:
    """Values given one by one or separated by commas."""
    return [part for text in texts for part in text.split(",")]


def pair(text: str) -> str:
    """A label with its value."""
    if ":" not in text:
        raise unfit("it must be a label's name and value with a colon between them, as in tenant:acme")
    return text


Text = Annotated[str, AfterValidator(storable)]


class Query(BaseModel):
    """Query parameters: unknown ones are refused, for a misspelt filter would show everything."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    @classmethod
    def of(cls, parameters: QueryDict) -> Any:
        """The parameters of a request.

        Raises:
            InvalidQuery: with a pointer for each fault, the query taken as an object.
        """
        given: dict[str, Any] = {}
        for name, texts in parameters.lists():
            given[name] = texts if name in cls.repeatable() else texts[-1]
            if len(texts) > 1 and name not in cls.repeatable():
                raise refusal([FieldError(f"/{codec.escape(name)}", "it is given more than once")])
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise refusal(codec.faults_of(error)) from error

    @classmethod
    def repeatable(cls) -> set[str]:
        """The parameters that may be given several times."""
        return {name for name, field in cls.model_fields.items() if field.default_factory is list}


def refusal(faults: list[FieldError]) -> InvalidQuery:
    """The refusal of a query."""
    return InvalidQuery(f"The query does not fit: {faults[0].pointer}: {faults[0].detail}.", faults)


class TaskQuery(Query):
    """Which tasks, and which page of them."""

    pipeline: Text = Field(default="", min_length=1, max_length=200, description="Tasks of this pipeline.")
    status: Annotated[list[TaskStatus], BeforeValidator(split)] = Field(
        default_factory=list,
        description="Tasks in one of these statuses; given several times, or separated by commas.",
    )
    key: Text = Field(default="", min_length=1, max_length=200, description="Tasks made with this idempotency key.")
    label: list[Annotated[Text, AfterValidator(pair)]] = Field(
        default_factory=list,
        description="Tasks with this label, as `name:value`; given several times, tasks that have all of them.",
        json_schema_extra={"items": {"type": "string", "pattern": "^[^:]*:"}},
    )
    created_after: Moment | None = Field(default=None, description="Tasks made after this time.")
    created_before: Moment | None = Field(default=None, description="Tasks made before this time.")
    cursor: Annotated[str, AfterValidator(Cursor.read)] = Field(
        default="", min_length=1, description="The `next_cursor` or `previous_cursor` of an earlier answer."
    )
    limit: int = Field(default=PAGE_SIZE, ge=1, le=LONGEST_PAGE, description="How many tasks a page holds.")


class EventQuery(Query):
    """Which events, and which page of them."""

    name: Text = Field(default="", min_length=1, max_length=200, description="Events of this name.")
    received_after: Moment | None = Field(default=None, description="Events received after this time.")
    received_before: Moment | None = Field(default=None, description="Events received before this time.")
    cursor: Annotated[str, AfterValidator(Cursor.read)] = Field(
        default="", min_length=1, description="The `next_cursor` or `previous_cursor` of an earlier answer."
    )
    limit: int = Field(default=PAGE_SIZE, ge=1, le=LONGEST_PAGE, description="How many events a page holds.")


class StatusQuery(Query):
    """How long to wait."""

    wait: int = Field(
        default=0, ge=0, le=LONGEST_WAIT, description="Seconds to wait for the task's end before answering."
    )


class ReadyQuery(Query):
    """What counts as ready."""

    workers: int = Field(default=0, ge=0, le=10_000, description="At least so many live worker processes are needed.")
