"""The cron schedules of all pipelines."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api.openapi.operations import operation
from taskqueue.api.pipelines import ScheduleRecord
from taskqueue.api.views import ApiView
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
