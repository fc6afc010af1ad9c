"""Serializers of pipelines."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from taskqueue.api.serializers import Seconds, SkipRecord, Time, choices_of
from taskqueue.engine.queries.pipeline_stats import UNFINISHED_LIMIT
from taskqueue.states import TaskStatus


class PipelineStepRecord(serializers.Serializer[Any]):
    """A step that the pipeline's code calls."""

    name = serializers.CharField()
    atomic = serializers.BooleanField(help_text="Whether its database writes and its checkpoint are one transaction.")
    timeout = Seconds(allow_null=True, help_text="Seconds for one attempt; null without a timeout.")
    retry_waits = serializers.ListField(
        child=serializers.FloatField(), source="retry", help_text="Seconds between attempts, before ±10 % jitter."
    )


class PauseRecord(serializers.Serializer[Any]):
    """A pause of a pipeline."""

    at = Time(source="paused_at")
    by = serializers.CharField(source="paused_by", allow_blank=True)
    reason = serializers.CharField(source="pause_reason")


class LastDay(serializers.Serializer[Any]):
    """The tasks that ended in the last 24 hours, rounded to half hours; up to a minute old."""

    succeeded = serializers.IntegerField()
    failed = serializers.IntegerField()
    cancelled = serializers.IntegerField()
    p50_seconds = Seconds(source="p50", allow_null=True, help_text="Median execution time; null without tasks.")
    p95_seconds = Seconds(source="p95", allow_null=True, help_text="95th percentile of the execution time.")


class PipelineStats(serializers.Serializer[Any]):
    """A pipeline's unfinished tasks by status, and its last day."""

    scheduled = serializers.IntegerField(source="unfinished.scheduled")
    queued = serializers.IntegerField(source="unfinished.queued")
    running = serializers.IntegerField(source="unfinished.running")
    waiting = serializers.IntegerField(source="unfinished.waiting")
    retrying = serializers.IntegerField(source="unfinished.retrying")
    capped = serializers.ListField(
        child=serializers.ChoiceField(choices=choices_of(TaskStatus)),
        help_text=f"Statuses with {UNFINISHED_LIMIT:,} tasks or more in all pipelines: the newest are counted.",
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
        child=serializers.FloatField(), source="retry", help_text="Seconds between attempts of the body itself."
    )
    steps = PipelineStepRecord(many=True, source="known_steps", help_text="In the order of the code.")
    policies = serializers.JSONField(
        help_text="The other policies of the code: limits, rates, triggers. Durations in seconds."
    )
    paused = serializers.SerializerMethodField(
        help_text="When, by whom and why it was paused; null if it is not paused."
    )
    registered_at = Time()
    updated_at = Time()
    stats = PipelineStats(help_text="Its unfinished tasks and its last day.")

    @extend_schema_field(PauseRecord(allow_null=True))
    def get_paused(self, pipeline: Any) -> Any:
        return None if pipeline.paused_at is None else PauseRecord(pipeline).data


class ScheduleRecord(serializers.Serializer[Any]):
    """The cron schedule of a pipeline."""

    expression = serializers.CharField(help_text="Cron expression: minute, hour, day of month, month, day of week.")
    timezone = serializers.CharField(help_text="The IANA time zone of the expression.")
    misfire = serializers.CharField(help_text="What happens to missed runs: `skip`, `once` or `all`.")
    next_at = Time(help_text="The next scheduled run.")
    last_at = Time(allow_null=True, help_text="The last scheduled run.")


class PipelineDetail(PipelineRecord):
    """A pipeline with its schedule and its skipped requests."""

    schedule = serializers.SerializerMethodField(help_text="The cron schedule, or null.")
    skips = SkipRecord(
        many=True,
        source="latest_skips",
        help_text="The latest requests that created no task, newest first; empty for callers without `view_skip`.",
    )

    @extend_schema_field(ScheduleRecord(allow_null=True))
    def get_schedule(self, pipeline: Any) -> Any:
        schedule = getattr(pipeline, "schedule", None)
        return None if schedule is None else ScheduleRecord(schedule).data


class PipelineList(serializers.Serializer[Any]):
    """Every pipeline, by name."""

    pipelines = PipelineRecord(many=True)
