"""What started nothing and what the clock starts next, in the admin: to read."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin import formats, markup
from taskqueue.admin.filters import KnownChoices, PipelineFilter
from taskqueue.admin.readonly import ReadOnlyAdmin
from taskqueue.models import Schedule, Skip
from taskqueue.states import SkipKind


class KindFilter(KnownChoices):
    """By why a request made no task."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """All kinds."""
        return [(kind.value, kind.value.capitalize()) for kind in SkipKind]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Skip]) -> QuerySet[Skip]:
        """Those of that kind."""
        kind = self.chosen()
        return queryset if kind is None else queryset.filter(kind=kind)


@admin.register(Skip)
class SkipAdmin(ReadOnlyAdmin[Skip]):
    """Requests that made no task, newest first."""

    list_display = ("shown_time", "pipeline_id", "kind", "reason", "key", "shown_task")
    list_display_links = None
    list_filter = (KindFilter, PipelineFilter)
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Skip]:
        """Skips with the database's present moment."""
        return Skip.objects.annotate(seen_at=Now())

    @admin.display(description="When")
    def shown_time(self, skip: Any) -> SafeString:
        """When it was asked for."""
        return markup.moment(skip.created_at, skip.seen_at)

    @admin.display(description="Task")
    def shown_task(self, skip: Skip) -> SafeString | str:
        """The way to the task that stood in."""
        if skip.task_id is None:
            return formats.NOTHING
        address = reverse("admin:taskqueue_task_change", args=[skip.task_id])
        return format_html('<a href="{}"><span class="tq-id">{}</span></a>', address, formats.id_tail(skip.task_id))


@admin.register(Schedule)
class ScheduleAdmin(ReadOnlyAdmin[Schedule]):
    """Pipelines that the clock starts, the next one first."""

    list_display = ("pipeline_id", "expression", "timezone", "misfire", "shown_next", "shown_last")
    list_display_links = None
    list_filter = (PipelineFilter,)
    ordering = ("next_at", "pk")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        """Schedules with the database's present moment."""
        return Schedule.objects.annotate(seen_at=Now())

    @admin.display(description="Next tick")
    def shown_next(self, schedule: Any) -> SafeString:
        """When it starts next."""
        return markup.moment(schedule.next_at, schedule.seen_at)

    @admin.display(description="Last tick taken")
    def shown_last(self, schedule: Any) -> SafeString:
        """When it was started last."""
        return markup.moment(schedule.last_at, schedule.seen_at)
