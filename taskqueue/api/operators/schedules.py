"""The cron schedules of all pipelines: list them, and run one now."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue import errors
from taskqueue.api.authentication import actor_of, pipeline_permissions_of
from taskqueue.api.json_parser import parse_body
from taskqueue.api.openapi.operations import location, operation
from taskqueue.api.pipelines import ScheduleRecord, refuse_nul
from taskqueue.api.requests import NoBody
from taskqueue.api.rows import find_row
from taskqueue.api.tasks.submit import CREATED, EXISTING, submitted
from taskqueue.api.views import ApiView
from taskqueue.engine.access.permissions import Action
from taskqueue.engine.maintenance import cron
from taskqueue.models import Schedule


class PipelineSchedule(ScheduleRecord):
    """The cron schedule of a pipeline, with its name."""

    pipeline = serializers.CharField(source="pipeline_id")
    paused = serializers.SerializerMethodField(help_text="Whether the pipeline is paused, so that runs are skipped.")

    def get_paused(self, schedule: Any) -> bool:
        return schedule.pipeline.paused_at is not None


class ScheduleList(serializers.Serializer[Any]):
    """Every schedule, the next run first."""

    schedules = PipelineSchedule(many=True)


class ScheduleListView(ApiView):
    required_permissions = {"GET": ("taskqueue.view_schedule",)}

    @operation(
        "listSchedules",
        "List schedules",
        "The cron schedules of all pipelines, the next run first.",
        tag="pipelines",
        success={200: (ScheduleList, "The schedules.")},
    )
    def get(self, request: Request) -> Response:
        schedules = Schedule.objects.select_related("pipeline").order_by("next_at", "pk")
        return Response(ScheduleList({"schedules": schedules}).data)


class ScheduleRunView(ApiView):
    required_permissions = {"POST": ("taskqueue.add_task",)}
    # The request is right here: these errors mean that the code has changed, or that its defaults do not fit.
    status_overrides = {errors.UnknownPipeline: 409, errors.InvalidPayload: 409, errors.TooLarge: 409}

    @operation(
        "runSchedule",
        "Run a schedule now",
        "Submits a task as the next scheduled run would. The schedule itself does not change.",
        tag="pipelines",
        success={202: CREATED, 200: EXISTING},
        body=NoBody,
        headers=(location("task", 200, 202),),
    )
    def post(self, request: Request, name: str) -> Response:
        parse_body(NoBody, request.data)
        schedule = find_row(Schedule.objects.all(), refuse_nul(name), f"Pipeline {name!r} has no schedule.")
        pipeline_permissions_of(request).require(Action.RUN, name)
        return submitted(request, cron.run_now(schedule, actor=actor_of(request)))
