"""What answers about pipelines hold."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from taskqueue.api.serializers import Seconds, SkipRecord, Time, choices_of
from taskqueue.engine.queries.counts import COUNTED_MOST
from taskqueue.states import TaskStatus


class KnownStep(serializers.Serializer[Any]):
    """A step that a pipeline is known to call."""

    name = serializers.CharField()
    atomic = serializers.BooleanField(help_text="Its database writes and its checkpoint commit together.")
    timeout = Seconds(allow_null=True, help_text="Seconds that one try may take.")
    retry_waits = serializers.ListField(
        child=serializers.FloatField(), source="retry", help_text="Seconds between tries, before jitter of 10 %."
    )


class Pausing(serializers.Serializer[Any]):
    """That a pipeline is paused: none of its tasks starts or goes on."""

    at = Time(source="paused_at")
    by = serializers.CharField(source="paused_by", allow_blank=True)
    reason = serializers.CharField(source="pause_reason")


class LastDay(serializers.Serializer[Any]):
    """How the tasks did that ended in the last 24 hours, by the half hour; up to a minute late."""

    succeeded = serializers.IntegerField()
    failed = serializers.IntegerField()
    cancelled = serializers.IntegerField()
    p50_seconds = Seconds(
        source="p50", allow_null=True, help_text="Half of them were executed no longer; null without any."
    )
    p95_seconds = Seconds(source="p95", allow_null=True, help_text="95 of 100 of them were executed no longer.")


class PipelineFigures(serializers.Serializer[Any]):
    """What a pipeline has in hand now, and how its last day was."""

    scheduled = serializers.IntegerField(source="unfinished.scheduled")
    queued = serializers.IntegerField(source="unfinished.queued")
    running = serializers.IntegerField(source="unfinished.running")
    waiting = serializers.IntegerField(source="unfinished.waiting")
    retrying = serializers.IntegerField(source="unfinished.retrying")
    capped = serializers.ListField(
        child=serializers.ChoiceField(choices=choices_of(TaskStatus)),
        help_text=f"Statuses of which all pipelines together have {COUNTED_MOST:,} tasks or more: only the newest of "
        "them are counted here.",
    )
    last_day = LastDay()


class PipelineRecord(serializers.Serializer[Any]):
    """A pipeline."""

    name = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    payload_schema = serializers.JSONField(help_text="JSON schema of the payload.")
    payload_example = serializers.JSONField()
    result_schema = serializers.JSONField(help_text="JSON schema of the result.")
    retry_waits = serializers.ListField(
        child=serializers.FloatField(), source="retry", help_text="Seconds between tries of the body itself."
    )
    steps = KnownStep(many=True, source="known_steps", help_text="In the order in which the body names them.")
    policies = serializers.JSONField(help_text="What else the code says: limits, rates, starts. Times in seconds.")
    paused = serializers.SerializerMethodField(help_text="Since when, by whom and why it is paused; null if it is not.")
    registered_at = Time()
    updated_at = Time()
    figures = PipelineFigures(help_text="How it does now, and did in the last day.")

    @extend_schema_field(Pausing(allow_null=True))
    def get_paused(self, pipeline: Any) -> Any:
        """Whether it is paused."""
        return None if pipeline.paused_at is None else Pausing(pipeline).data


class ScheduleRecord(serializers.Serializer[Any]):
    """When the clock starts a pipeline."""

    expression = serializers.CharField(help_text="Minute, hour, day of the month, month, day of the week.")
    timezone = serializers.CharField(help_text="The IANA name of the zone in which the expression is read.")
    misfire = serializers.CharField(help_text="What becomes of missed ticks: `skip`, `once` or `all`.")
    next_at = Time(help_text="The next tick.")
    last_at = Time(allow_null=True, help_text="The last tick that was taken.")


class PipelineDetail(PipelineRecord):
    """A pipeline, when it starts, and what did not start."""

    schedule = serializers.SerializerMethodField(help_text="When the clock starts it; null if it does not.")
    skips = SkipRecord(
        many=True,
        source="latest_skips",
        help_text="The latest requests that made no task, newest first; none for callers without `view_skip`.",
    )

    @extend_schema_field(ScheduleRecord(allow_null=True))
    def get_schedule(self, pipeline: Any) -> Any:
        """Its clock."""
        schedule = getattr(pipeline, "schedule", None)
        return None if schedule is None else ScheduleRecord(schedule).data


class PipelineList(serializers.Serializer[Any]):
    """Every pipeline, by name."""

    pipelines = PipelineRecord(many=True)
