"""Serializers and fields that several resources share."""

from __future__ import annotations

from datetime import UTC
from enum import StrEnum
from typing import Any

from rest_framework import serializers

from taskqueue.api.problems import CODES
from taskqueue.engine.queries.tasks import next_run_of
from taskqueue.states import SkipKind


def choices_of(enum: type[StrEnum]) -> list[tuple[str, str]]:
    """An enum as the choices of a field, so that the schema gives it the enum's name."""
    return [(word.value, word.name) for word in enum]


class Time(serializers.DateTimeField):
    """A time in UTC as RFC 3339, whatever the project's settings say."""

    def __init__(self, **options: Any) -> None:
        super().__init__(format="iso-8601", default_timezone=UTC, **options)


class NextRun(Time):
    def get_attribute(self, instance: Any) -> Any:
        return next_run_of(instance)


class Seconds(serializers.FloatField):
    """A duration in seconds."""

    def to_representation(self, value: Any) -> Any:
        return value.total_seconds()


class FieldError(serializers.Serializer[Any]):
    """One error of the request."""

    pointer = serializers.CharField(
        allow_blank=True,
        help_text="JSON pointer (RFC 6901) into the request body, or into the query as if it were an object.",
    )
    detail = serializers.CharField(help_text="What is wrong.")


class Problem(serializers.Serializer[Any]):
    """An error as problem details (RFC 9457)."""

    type = serializers.CharField(help_text="`urn:taskqueue:problem:` and the code.")
    title = serializers.CharField(help_text="The kind of problem, as a fixed text.")
    status = serializers.IntegerField(help_text="The HTTP status.")
    detail = serializers.CharField(help_text="What happened, for people.")
    code = serializers.ChoiceField(choices=CODES, help_text="The kind of problem, for programs.")
    errors = FieldError(  # type: ignore[assignment]  # DRF takes declared fields out of the class again
        many=True, help_text="The single errors of the request, if their place is known."
    )


class Paged(serializers.Serializer[Any]):
    """A page of rows, newest first."""

    next_cursor = serializers.CharField(
        allow_null=True, help_text="The cursor of the next, older page; null on the last page."
    )
    previous_cursor = serializers.CharField(
        allow_null=True, help_text="The cursor of the previous, newer page; null on the first page."
    )


class SkipRecord(serializers.Serializer[Any]):
    """A request that created no task, because it was skipped or changed an existing task."""

    kind = serializers.ChoiceField(choices=choices_of(SkipKind))
    reason = serializers.CharField(help_text="The reason, for people.")
    key = serializers.CharField(allow_blank=True, help_text="The request's idempotency key, or empty.")
    task = serializers.UUIDField(
        source="task_id", allow_null=True, help_text="The existing task that was returned or changed."
    )
    event = serializers.UUIDField(source="event_id", allow_null=True, help_text="The event that made the request.")
    created_at = Time()
