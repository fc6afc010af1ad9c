"""Fields of many models, so that the options that they share are written once."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models.expressions import Combinable

Row = TypeVar("Row", bound=models.Model)


def text_field(max_length: int, help_text: str = "", **options: Any) -> models.CharField[str | int | Combinable, str]:
    """A text that may be empty."""
    return models.CharField(max_length=max_length, blank=True, default="", help_text=help_text, **options)


def time_field(
    help_text: str = "", **options: Any
) -> models.DateTimeField[str | datetime | Combinable | None, datetime | None]:
    """A time that may be null."""
    return models.DateTimeField(null=True, blank=True, help_text=help_text, **options)


def flag_field(help_text: str = "", **options: Any) -> models.BooleanField[bool | Combinable, bool]:
    """A flag that is not set."""
    return models.BooleanField(default=False, db_default=False, help_text=help_text, **options)


def limit_field(help_text: str, **options: Any) -> models.PositiveIntegerField[int | None, int | None]:
    """A number from 1 that may be null."""
    validators = [MinValueValidator(1)]
    return models.PositiveIntegerField(null=True, blank=True, validators=validators, help_text=help_text, **options)


def optional_key(
    to: type[Row], related_name: str, help_text: str = "", *, on_delete: Any = models.SET_NULL, **options: Any
) -> models.ForeignKey[Row | None, Row | None]:
    """A reference that may be null. A partial index of its own serves the statements that need one."""
    options |= {"null": True, "blank": True, "db_index": False, "help_text": help_text}
    return models.ForeignKey(to, on_delete, related_name=related_name, **options)


def derived_name(help_text: str) -> models.TextField[str | None, str | None]:
    """A name that a trigger computes, sorted by bytes; null when it does not apply.

    Without a length of its own, since its parts have one: PostgreSQL before 18 takes a table without statistics whose
    declared widths exceed a page for one row, and then reads the whole of any index.
    """
    return models.TextField(null=True, editable=False, db_collation="C", help_text=help_text)


def derived_time(help_text: str) -> models.DateTimeField[datetime | None, datetime | None]:
    """A time that a trigger computes; null when it does not apply."""
    return models.DateTimeField(null=True, editable=False, help_text=help_text)
