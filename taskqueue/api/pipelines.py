"""Pipelines: list them, get one, move it to another queue, pause and resume it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue import errors
from taskqueue.api.authentication import actor_of, has_permissions
from taskqueue.api.json_parser import parse_body
from taskqueue.api.openapi.operations import hidden_operation, operation
from taskqueue.api.problems import Kind, Refusal
from taskqueue.api.requests import Body, NoBody
from taskqueue.api.serializers import Seconds, SkipRecord, Time, choices_of
from taskqueue.api.views import ApiView
from taskqueue.engine.actions import queues
from taskqueue.engine.queries import tasks
from taskqueue.engine.queries.pipeline_stats import UNFINISHED_LIMIT, pipeline_stats
from taskqueue.engine.tasks import control
from taskqueue.models import Pipeline
from taskqueue.states import TaskStatus


class PipelineStepRecord(serializers.Serializer[Any]):
    """A step that the pipeline's code calls."""

    name = serializers.CharField()
    atomic = serializers.BooleanField(help_text="Whether its database writes and its checkpoint are one transaction.")
    timeout = Seconds(allow_null=True, help_text="Seconds for one attempt; null without a timeout.")
    retry_waits = serializers.ListField(
        child=serializers.FloatField(), source="retry", help_text="Seconds between attempts, before ±10 % jitter."
    )
    queue = serializers.CharField(allow_blank=True, help_text="Its queue; empty for the pipeline's.")


class PauseRecord(serializers.Serializer[Any]):
    """A pause of a pipeline."""

    def get_attribute(self, instance: Any) -> Any:
        return None if instance.paused_at is None else instance

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
    queue = serializers.CharField(source="effective_queue", help_text="The queue that workers claim its tasks from.")
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
    paused = PauseRecord(
        allow_null=True, read_only=True, help_text="When, by whom and why it was paused; null if it is not paused."
    )
    registered_at = Time()
    updated_at = Time()
    stats = PipelineStats(help_text="Its unfinished tasks and its last day.")


class ScheduleRecord(serializers.Serializer[Any]):
    """The cron schedule of a pipeline."""

    expression = serializers.CharField(help_text="Cron expression: minute, hour, day of month, month, day of week.")
    timezone = serializers.CharField(help_text="The IANA time zone of the expression.")
    misfire = serializers.CharField(help_text="What happens to missed runs: `skip`, `once` or `all`.")
    next_at = Time(help_text="The next scheduled run.")
    last_at = Time(allow_null=True, help_text="The last scheduled run.")


class PipelineDetail(PipelineRecord):
    """A pipeline with its schedule and its skipped requests."""

    schedule = ScheduleRecord(allow_null=True, read_only=True, help_text="The cron schedule, or null.")
    skips = SkipRecord(
        many=True,
        source="latest_skips",
        help_text="The latest requests that created no task, newest first; empty for callers without `view_skip`.",
    )


class PipelineList(serializers.Serializer[Any]):
    """Every pipeline, by name."""

    pipelines = PipelineRecord(many=True)


class PauseRequest(Body):
    """Why to pause a pipeline."""

    reason: str = Field(min_length=1, max_length=300, description="Shown to people whose tasks wait.")


class PipelineChange(Body):
    """What changes of a pipeline."""

    queue: str | None = Field(
        description="The queue that workers claim its tasks from, from now on. Null for the queue in the code."
    )


class PipelineListView(ApiView):
    required_permissions = {"GET": ("taskqueue.view_pipeline",)}

    @operation(
        "listPipelines",
        "List pipelines",
        "Every pipeline that deployed code has defined, with its numbers. Pipelines whose code is gone are listed as "
        "long as they have tasks.",
        tag="pipelines",
        success={200: (PipelineList, "The pipelines.")},
    )
    def get(self, request: Request) -> Response:
        return Response(PipelineList({"pipelines": with_stats(tasks.pipelines())}).data)


class PipelineDetailView(ApiView):
    http_method_names = ["get", "patch", "head"]
    required_permissions = {
        "GET": ("taskqueue.view_pipeline",),
        "PATCH": ("taskqueue.view_pipeline", "taskqueue.change_pipeline"),
    }
    status_overrides = {errors.UnknownPipeline: 404}

    @operation(
        "getPipeline",
        "Get a pipeline",
        "The JSON schemas of its payload and result, its steps, its schedule, how many unfinished tasks it has, the "
        "last 24 hours, and the latest skipped requests.",
        tag="pipelines",
        success={200: (PipelineDetail, "The pipeline.")},
    )
    def get(self, request: Request, name: str) -> Response:
        return pipeline_response(request, name)

    @operation(
        "changePipeline",
        "Move a pipeline to another queue",
        "The next claim acts on it. Tasks that are executing stay where they are.",
        tag="pipelines",
        success={200: (PipelineDetail, "The changed pipeline.")},
        body=PipelineChange,
        never=(409,),
    )
    def patch(self, request: Request, name: str) -> Response:
        queue = parse_body(PipelineChange, request.data).queue
        queues.move_pipeline(refuse_nul(name), queue or "", actor=actor_of(request))
        return pipeline_response(request, name)


class PipelinePauseView(ApiView):
    required_permissions = {
        "GET": ("taskqueue.view_pipeline",),
        "POST": ("taskqueue.view_pipeline", "taskqueue.pause_pipeline"),
    }
    status_overrides = {errors.UnknownPipeline: 404}

    @operation(
        "pausePipeline",
        "Pause a pipeline",
        "No task of the pipeline starts or continues; a running one stops after its current step. New tasks are still "
        "accepted.",
        tag="pipelines",
        success={200: (PipelineDetail, "The paused pipeline.")},
        body=PauseRequest,
    )
    def post(self, request: Request, name: str) -> Response:
        reason = parse_body(PauseRequest, request.data).reason
        control.pause_pipeline(refuse_nul(name), reason=reason, actor=actor_of(request))
        return pipeline_response(request, name)

    @hidden_operation
    def get(self, request: Request, name: str) -> Response:
        return pipeline_response(request, f"{name}/pause")


class PipelineResumeView(ApiView):
    required_permissions = PipelinePauseView.required_permissions
    status_overrides = {errors.UnknownPipeline: 404}

    @operation(
        "resumePipeline",
        "Resume a pipeline",
        "Its tasks start and continue in queue order.",
        tag="pipelines",
        success={200: (PipelineDetail, "The resumed pipeline.")},
        body=NoBody,
    )
    def post(self, request: Request, name: str) -> Response:
        parse_body(NoBody, request.data)
        control.resume_pipeline(refuse_nul(name), actor=actor_of(request))
        return pipeline_response(request, name)

    @hidden_operation
    def get(self, request: Request, name: str) -> Response:
        return pipeline_response(request, f"{name}/resume")


def refuse_nul(name: str) -> str:
    """The name, unless it has a NUL character: PostgreSQL refuses to compare with one."""
    if "\x00" in name:
        raise Refusal(Kind.UNKNOWN_PIPELINE, f"No pipeline is called {name!r}.")
    return name


def pipeline_response(request: Request, name: str) -> Response:
    """The answer with a pipeline; its skipped requests only for callers with `view_skip`."""
    pipeline = tasks.pipelines().select_related("schedule").filter(pk=refuse_nul(name)).first()
    if pipeline is None:
        raise Refusal(Kind.UNKNOWN_PIPELINE, f"No pipeline is called {name!r}.")
    sees_skips = has_permissions(request, "taskqueue.view_skip")
    pipeline.latest_skips = tasks.skips_of(pipeline) if sees_skips else []  # type: ignore[attr-defined]  # for its serializer
    return Response(PipelineDetail(with_stats([pipeline])[0]).data)


def with_stats(pipelines: Iterable[Pipeline]) -> list[Pipeline]:
    found = list(pipelines)
    stats = pipeline_stats(pipeline.name for pipeline in found)
    for pipeline in found:
        pipeline.stats = stats[pipeline.name]  # type: ignore[attr-defined]  # for their serializer
    return found
