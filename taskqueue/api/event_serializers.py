"""Serializers of events."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from taskqueue.api.serializers import Paged, SkipRecord, Time


class StartedTask(serializers.Serializer[Any]):
    """A task that an event started."""

    id = serializers.UUIDField()
    pipeline = serializers.CharField(source="pipeline_id")


class ResolvedWait(serializers.Serializer[Any]):
    """A wait that an event resolved."""

    task = serializers.UUIDField(source="task_id")
    step = serializers.CharField(source="step_key")


class EventSummary(serializers.Serializer[Any]):
    """An event."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    external_id = serializers.CharField(allow_blank=True, help_text="The sender's own id, or empty.")
    data = serializers.JSONField(  # type: ignore[assignment]  # DRF takes declared fields out of the class again
        help_text="In a completion event payload and result are masked for callers who may not see them, secrets "
        "always."
    )
    source = serializers.UUIDField(  # type: ignore[assignment]  # as above
        source="source_id", allow_null=True, help_text="The task that sent it."
    )
    received_at = Time()
    routed_at = Time(allow_null=True, help_text="When the event was routed; null shortly after it was received.")


class EventDetail(EventSummary):
    """An event and its effects."""

    tasks = StartedTask(many=True, source="started_tasks", help_text="The tasks that it started.")
    waits = ResolvedWait(many=True, source="ended_waits", help_text="The waits that it resolved.")
    cancelled = serializers.ListField(
        child=serializers.UUIDField(), source="cancelled_tasks", help_text="The tasks that it cancelled."
    )
    skips = SkipRecord(
        many=True,
        source="skipped",
        help_text="The pipelines that it did not start, or has not started yet (`deferred`), with the reason.",
    )


class SentEvent(EventDetail):
    """A new event, or an existing one with the sender's id."""

    duplicate = serializers.BooleanField(help_text="Whether an event with this id was sent before.")


class EventPage(Paged):
    """Events, newest first."""

    events = EventSummary(many=True, source="rows")
