"""Rows that a request names or writes: find one, or refuse the request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db.models import Model

from taskqueue.api.problems import Kind, Refusal
from taskqueue.errors import FieldError

if TYPE_CHECKING:
    from django.db.models import QuerySet

Row = TypeVar("Row", bound=Model)


def find_row(rows: QuerySet[Row], key: Any, missing: str) -> Row:
    """The row with a primary key.

    Args:
        rows: those that it may be among.
        key: a text may have NUL characters, which PostgreSQL refuses.
        missing: the detail of the refusal.

    Raises:
        Refusal: 404.
    """
    found = None if isinstance(key, str) and "\x00" in key else rows.filter(pk=key).first()
    if found is None:
        raise Refusal(Kind.NOT_FOUND, missing)
    return found


def invalid_body(pointer: str, detail: str) -> Refusal:
    """The refusal of a body with one error."""
    return Refusal(Kind.INVALID_BODY, detail, [FieldError(pointer, detail)])


def invalid_row(error: ValidationError, what: str, names: Mapping[str, str]) -> Refusal:
    """The refusal of a row that its model's checks refuse.

    Args:
        error: what they raised.
        what: the row, such as "subscription".
        names: of the body's fields, by column, where they differ; of an error without a column by NON_FIELD_ERRORS.
    """
    fields = getattr(error, "error_dict", {NON_FIELD_ERRORS: [error]})
    found = [
        FieldError(f"/{names.get(name, name)}", " ".join(ValidationError(errors).messages))
        for name, errors in fields.items()
    ]
    return Refusal(Kind.INVALID_BODY, f"The {what} is not valid: {found[0].detail}", found)
