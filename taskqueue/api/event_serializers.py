"""What answers about events hold."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from taskqueue.api.serializers import Paged, SkipRecord, Time


class StartedTask(serializers.Serializer[Any]):
    """A task that an event started."""

    id = serializers.UUIDField()
    pipeline = serializers.CharField(source="pipeline_id")


class ResolvedWait(serializers.Serializer[Any]):
    """A wait that an event ended."""

    task = serializers.UUIDField(source="task_id")
    step = serializers.CharField(source="step_key")


class EventSummary(serializers.Serializer[Any]):
    """An event."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    external_id = serializers.CharField(allow_blank=True, help_text="The sender's own id; empty without one.")
    data = serializers.JSONField(  # type: ignore[assignment]  # DRF takes declared fields out of the class again
        help_text="Of a task's end without its secrets; payload and result are masked for those who may not see them."
    )
    source = serializers.UUIDField(  # type: ignore[assignment]  # the same
        source="source_id", allow_null=True, help_text="The task that sent it."
    )
    received_at = Time()
    routed_at = Time(allow_null=True, help_text="When it reached those who listened; null for a moment.")


class EventDetail(EventSummary):
    """An event and what came of it."""

    tasks = StartedTask(many=True, source="started_tasks", help_text="The tasks that it started.")
    waits = ResolvedWait(many=True, source="ended_waits", help_text="The waits that it ended.")
    cancelled = serializers.ListField(
        child=serializers.UUIDField(), source="cancelled_tasks", help_text="The tasks that it cancelled."
    )
    skips = SkipRecord(
        many=True, source="skipped", help_text="The pipelines that it did not start, or not yet (`deferred`), and why."
    )


class SentEvent(EventDetail):
    """An event that was sent, or found by its sender's id."""

    duplicate = serializers.BooleanField(help_text="Whether its id stands for an event that was sent before.")


class EventPage(Paged):
    """Events, newest first."""

    events = EventSummary(many=True, source="rows")
