"""Fields of many models: texts that may be empty, times that may be null, flags, limits, and generated columns."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Case, When
from django.db.models.expressions import Combinable


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


def generated_name(max_length: int, *cases: When, help_text: str = "") -> models.GeneratedField:
    """A name that PostgreSQL generates and sorts by bytes; null in all other cases."""
    output = models.CharField(max_length=max_length, null=True, db_collation="C")
    return models.GeneratedField(expression=Case(*cases), output_field=output, db_persist=True, help_text=help_text)


def generated_time(*cases: When, help_text: str = "") -> models.GeneratedField:
    """A time that PostgreSQL generates; null in all other cases."""
    output = models.DateTimeField(null=True)
    return models.GeneratedField(expression=Case(*cases), output_field=output, db_persist=True, help_text=help_text)
