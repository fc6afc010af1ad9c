"""Types of fields that request bodies and query parameters share."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from taskqueue.engine.actions.callbacks import callback_problem
from taskqueue.json_values import codec
from taskqueue.webhooks.addresses import ADDRESS_MAX_LENGTH

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
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


def integral(value: object) -> object:
    """5 for 5.0: JSON has one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def storable(text: str) -> str:
    """The text, unless PostgreSQL refuses to compare with it."""
    for error in codec.text_errors(text, ""):
        raise invalid(error.detail)
    return text


def callable_address(address: str) -> str:
    """A callback URL that may be called, or an empty text."""
    if problem := callback_problem(address):
        raise invalid(problem)
    return address


def invalid(detail: str) -> PydanticCustomError:
    return PydanticCustomError("invalid", "{detail}", {"detail": detail})


Moment = Annotated[AwareDatetime, BeforeValidator(rfc_3339)]
Text = Annotated[str, AfterValidator(storable)]
CallbackUrl = Annotated[
    str,
    AfterValidator(callable_address),
    Field(
        max_length=ADDRESS_MAX_LENGTH,
        description="An https address that is called when the task has ended, as a webhook. "
        "An existing task keeps its own.",
    ),
]
