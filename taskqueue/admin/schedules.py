"""Schedules and skipped requests, read-only; a schedule can be run now."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import BooleanField, Case, OuterRef, QuerySet, Subquery, When
from django.db.models.functions import JSONObject
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats, html, task_actions
from taskqueue.admin.shared.filters import ChoiceFilter, PipelineFilter
from taskqueue.admin.shared.links import link, list_url, page_url, task_link, view_url
from taskqueue.admin.shared.models import ReadOnlyAdmin
from taskqueue.admin.shared.pages import POST, name_from_url, redirect
from taskqueue.engine.access.permissions import Action, CallerPermissions
from taskqueue.engine.maintenance import cron
from taskqueue.errors import TaskqueueError
from taskqueue.models import Schedule, Skip, Task
from taskqueue.states import SkipKind

RUN = "taskqueue.add_task"


class KindFilter(ChoiceFilter):
    title = parameter_name = column = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind.value, kind.value.capitalize()) for kind in SkipKind]


@admin.register(Skip)
class SkipAdmin(ReadOnlyAdmin[Skip]):
    """Requests that created no task, newest first."""

    list_display = ("time", "pipeline_name", "kind", "reason", "key", "task_link")
    list_display_links = None
    list_filter = (KindFilter, PipelineFilter)
    ordering = ("-id",)
    time = html.moment_column("When", "created_at")

    @admin.display(description="Pipeline")
    def pipeline_name(self, skip: Skip) -> str:
        return skip.pipeline_id

    @admin.display(description="Task")
    def task_link(self, skip: Skip) -> SafeString | str:
        """The existing task that the request was answered with."""
        return formats.EMPTY_VALUE if skip.task_id is None else task_link(skip.task_id)


def run_view(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    """Submit a task as the next scheduled run would; the schedule itself does not change."""
    if not request.user.has_perm(RUN):
        raise PermissionDenied
    schedule = Schedule.objects.filter(pk=name_from_url(object_id)).first()
    if schedule is None:
        message = f"Pipeline {unquote(object_id)} has no schedule."
        return redirect(admin, request, list_url("schedule"), message, messages.WARNING)
    if not CallerPermissions(request.user).may(Action.RUN, schedule.pipeline_id):
        raise PermissionDenied
    try:
        task = cron.run_now(schedule, actor=task_actions.actor_of(request))
    except TaskqueueError as error:
        message = f"No task was created: {error.detail}"
        return redirect(admin, request, list_url("schedule"), message, messages.ERROR)
    return task_actions.redirect_to_submitted(admin, request, task)


@admin.register(Schedule)
class ScheduleAdmin(ReadOnlyAdmin[Schedule]):
    list_display = ("pipeline_link", "cron", "misfire", "next_run", "last_run", "last_result", "buttons")
    list_display_links = None
    list_filter = (PipelineFilter,)
    ordering = ("next_at", "pk")
    buttons_need = RUN
    views = (("<path:object_id>/run/", "run", run_view, POST),)
    next_run = html.moment_column("Next run", "next_at")
    last_run = html.moment_column("Last run", "last_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        """Schedules with the task of their last run, and whether the user may not run their pipeline."""
        of_last_run = Task.objects.filter(pipeline=OuterRef("pipeline"), cron_at=OuterRef("last_at"))
        last_task = of_last_run.values(pair=JSONObject(id="id", status="status"))[:1]
        denied = CallerPermissions(request.user).pipelines_denied(Action.RUN)
        is_denied = Case(When(pipeline__in=denied, then=True), default=False, output_field=BooleanField())
        schedules = super().get_queryset(request).select_related("pipeline")
        return schedules.annotate(last_task=Subquery(last_task), is_denied=is_denied)

    @admin.display(description="Pipeline")
    def pipeline_link(self, schedule: Schedule) -> SafeString:
        address = page_url("pipeline", schedule.pipeline_id)
        name = format_html('<a class="tq-name" href="{}">{}</a>', address, schedule.pipeline_id)
        return html.with_note(name, "paused: its runs are skipped" if schedule.pipeline.paused_at else "")

    @admin.display(description="Cron")
    def cron(self, schedule: Schedule) -> SafeString:
        return html.with_note(format_html("<code>{}</code>", schedule.expression), schedule.timezone)

    @admin.display(description="Last result")
    def last_result(self, schedule: Any) -> SafeString | str:
        if schedule.last_task is None:
            return formats.EMPTY_VALUE
        return link(page_url("task", schedule.last_task["id"]), html.badge(schedule.last_task["status"]))

    @admin.display(description="Actions")
    def buttons(self, schedule: Any) -> SafeString | str:
        if schedule.is_denied:
            return ""
        return format_html(
            '<button type="submit" class="tq-button" formmethod="post" formaction="{}" aria-label="Run {} now"'
            ' title="Submits a task as the next run would. The schedule does not change.">Run now</button>',
            view_url("schedule", "run", schedule.pk),
            schedule.pk,
        )
