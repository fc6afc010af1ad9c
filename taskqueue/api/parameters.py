"""Models of query parameters."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from taskqueue.api.problems import InvalidQuery
from taskqueue.api.requests import Moment, invalid
from taskqueue.errors import FieldError
from taskqueue.json_values import codec
from taskqueue.states import TaskStatus

if TYPE_CHECKING:
    from django.http import QueryDict

PAGE_SIZE = 50
MAX_PAGE_SIZE = 200
MAX_WAIT_SECONDS = 60


@dataclass(frozen=True)
class Cursor:
    """A position in a list and the direction of the page: older rows or newer ones."""

    row: UUID
    older: bool

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(self.row.bytes + (b"o" if self.older else b"n")).rstrip(b"=").decode()

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """The cursor that a caller sends."""
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) != 17 or raw[16:] not in (b"o", b"n"):
            raise invalid("it must be the next_cursor or previous_cursor of an earlier answer")
        return cls(UUID(bytes=raw[:16]), older=raw[16:] == b"o")


def storable(text: str) -> str:
    """The text, unless PostgreSQL refuses to compare with it."""
    for error in codec.text_errors(text, ""):
        raise invalid(error.detail)
    return text


def split_commas(texts: list[str]) -> list[str]:
    """The values of a parameter that is repeated, comma-separated, or both."""
    return [part for text in texts for part in text.split(",")]


def label_filter(text: str) -> str:
    """A label's name and value."""
    if ":" not in text:
        raise invalid("it must be a label's name and value with a colon between them, such as tenant:acme")
    return text


Text = Annotated[str, AfterValidator(storable)]


class Query(BaseModel):
    """Query parameters. Unknown ones are refused: with a misspelt filter the answer would have everything."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    @classmethod
    def of(cls, parameters: QueryDict) -> Any:
        """The parameters of a request.

        Raises:
            InvalidQuery: with a pointer to each error, as if the query were an object.
        """
        given: dict[str, Any] = {}
        for name, texts in parameters.lists():
            given[name] = texts if name in cls.repeatable() else texts[-1]
            if len(texts) > 1 and name not in cls.repeatable():
                raise invalid_query([FieldError(f"/{codec.escape(name)}", "it is given more than once")])
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise invalid_query(codec.field_errors(error)) from error

    @classmethod
    def repeatable(cls) -> set[str]:
        return {name for name, field in cls.model_fields.items() if field.default_factory is list}


def invalid_query(errors: list[FieldError]) -> InvalidQuery:
    return InvalidQuery(f"The query is not valid: {errors[0].pointer}: {errors[0].detail}.", errors)


class TaskQuery(Query):
    """Filters and page of the list of tasks."""

    pipeline: Text = Field(default="", min_length=1, max_length=200, description="Tasks of this pipeline.")
    status: Annotated[list[TaskStatus], BeforeValidator(split_commas)] = Field(
        default_factory=list,
        description="Tasks in one of these statuses: repeat the parameter, or separate them by commas.",
    )
    key: Text = Field(default="", min_length=1, max_length=200, description="Tasks created with this idempotency key.")
    label: list[Annotated[Text, AfterValidator(label_filter)]] = Field(
        default_factory=list,
        description="Tasks with this label, as `name:value`. Repeat the parameter for tasks with several labels.",
        json_schema_extra={"items": {"type": "string", "pattern": "^[^:]*:"}},
    )
    created_after: Moment | None = Field(default=None, description="Tasks created after this time.")
    created_before: Moment | None = Field(default=None, description="Tasks created before this time.")
    cursor: Annotated[str, AfterValidator(Cursor.parse)] = Field(
        default="", min_length=1, description="The `next_cursor` or `previous_cursor` of an earlier answer."
    )
    limit: int = Field(default=PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE, description="Tasks per page.")


class EventQuery(Query):
    """Filters and page of the list of events."""

    name: Text = Field(default="", min_length=1, max_length=200, description="Events with this name.")
    received_after: Moment | None = Field(default=None, description="Events received after this time.")
    received_before: Moment | None = Field(default=None, description="Events received before this time.")
    cursor: Annotated[str, AfterValidator(Cursor.parse)] = Field(
        default="", min_length=1, description="The `next_cursor` or `previous_cursor` of an earlier answer."
    )
    limit: int = Field(default=PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE, description="Events per page.")


class StatusQuery(Query):
    """How long to wait for the task's end."""

    wait: int = Field(
        default=0,
        ge=0,
        le=MAX_WAIT_SECONDS,
        description="Seconds to wait for the task's end before the answer is sent.",
    )


class ReadyQuery(Query):
    """What is required to be ready."""

    workers: int = Field(default=0, ge=0, le=10_000, description="Live worker processes that are required.")
