"""Schedules and skipped requests, read-only; a schedule can be run now."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import BooleanField, Case, OuterRef, QuerySet, Subquery, When
from django.db.models.functions import JSONObject, Now
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats, html, task_actions
from taskqueue.admin.shared.filters import ChoiceFilter, PipelineFilter
from taskqueue.admin.shared.models import ReadOnlyAdmin
from taskqueue.admin.shared.pages import name_from_url, post_urls
from taskqueue.engine.access.permissions import Action, CallerPermissions
from taskqueue.engine.maintenance import cron
from taskqueue.errors import TaskqueueError
from taskqueue.models import Schedule, Skip, Task
from taskqueue.states import SkipKind

RUN = "taskqueue.add_task"
LIST = "admin:taskqueue_schedule_changelist"


class KindFilter(ChoiceFilter):
    """Skips of one kind."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind.value, kind.value.capitalize()) for kind in SkipKind]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Skip]) -> QuerySet[Skip]:
        kind = self.chosen()
        return queryset if kind is None else queryset.filter(kind=kind)


@admin.register(Skip)
class SkipAdmin(ReadOnlyAdmin[Skip]):
    """Requests that created no task, newest first."""

    list_display = ("time", "pipeline_name", "kind", "reason", "key", "task_link")
    list_display_links = None
    list_filter = (KindFilter, PipelineFilter)
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Skip]:
        return Skip.objects.annotate(seen_at=Now())

    @admin.display(description="When")
    def time(self, skip: Any) -> SafeString:
        return html.moment(skip.created_at, skip.seen_at)

    @admin.display(description="Pipeline")
    def pipeline_name(self, skip: Skip) -> str:
        return skip.pipeline_id

    @admin.display(description="Task")
    def task_link(self, skip: Skip) -> SafeString | str:
        """The existing task that the request was answered with."""
        if skip.task_id is None:
            return formats.EMPTY_VALUE
        address = reverse("admin:taskqueue_task_change", args=[skip.task_id])
        return format_html('<a href="{}"><span class="tq-id">{}</span></a>', address, formats.short_id(skip.task_id))


@admin.register(Schedule)
class ScheduleAdmin(ReadOnlyAdmin[Schedule]):
    """Schedules, in the order of their next runs."""

    list_display = ("pipeline_link", "cron", "misfire", "next_run", "last_run", "last_result", "buttons")
    list_display_links = None
    list_filter = (PipelineFilter,)
    ordering = ("next_at", "pk")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        """Schedules with the task of their last run, and whether the user may not run their pipeline."""
        of_last_run = Task.objects.filter(pipeline=OuterRef("pipeline"), cron_at=OuterRef("last_at"))
        last_task = of_last_run.values(pair=JSONObject(id="id", status="status"))[:1]
        denied = CallerPermissions(request.user).pipelines_denied(Action.RUN)
        is_denied = Case(When(pipeline__in=denied, then=True), default=False, output_field=BooleanField())
        schedules = Schedule.objects.select_related("pipeline")
        return schedules.annotate(seen_at=Now(), last_task=Subquery(last_task), is_denied=is_denied)

    def get_list_display(self, request: HttpRequest) -> Any:
        may_run = request.user.has_perm(RUN)
        return self.list_display if may_run else [name for name in self.list_display if name != "buttons"]

    def get_urls(self) -> list[URLPattern]:
        # Before Django's own patterns, which would match these addresses as object ids.
        return [*post_urls(self, "schedule", {"run": self.run_view}), *super().get_urls()]

    def run_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Submit a task as the next scheduled run would; the schedule itself does not change."""
        if not request.user.has_perm(RUN):
            raise PermissionDenied
        schedule = Schedule.objects.filter(pk=name_from_url(object_id)).first()
        if schedule is None:
            self.message_user(request, f"Pipeline {unquote(object_id)} has no schedule.", messages.WARNING)
            return HttpResponseRedirect(reverse(LIST))
        if not CallerPermissions(request.user).may(Action.RUN, schedule.pipeline_id):
            raise PermissionDenied
        try:
            task = cron.run_now(schedule, actor=task_actions.actor_of(request))
        except TaskqueueError as error:
            self.message_user(request, f"No task was created: {error.detail}", messages.ERROR)
            return HttpResponseRedirect(reverse(LIST))
        if task.duplicate:
            self.message_user(request, "No new task was created: this task already exists.", messages.WARNING)
        else:
            self.message_user(request, "The task is submitted.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:taskqueue_task_change", args=[task.pk]))

    @admin.display(description="Pipeline")
    def pipeline_link(self, schedule: Schedule) -> SafeString:
        address = reverse("admin:taskqueue_pipeline_change", args=[quote(schedule.pipeline_id)])
        paused = SafeString('<span class="tq-under">paused: its runs are skipped</span>')
        return format_html(
            '<a class="tq-name" href="{}">{}</a>{}',
            address,
            schedule.pipeline_id,
            paused if schedule.pipeline.paused_at else "",
        )

    @admin.display(description="Cron")
    def cron(self, schedule: Schedule) -> SafeString:
        return format_html('<code>{}</code><span class="tq-under">{}</span>', schedule.expression, schedule.timezone)

    @admin.display(description="Next run")
    def next_run(self, schedule: Any) -> SafeString:
        return html.moment(schedule.next_at, schedule.seen_at)

    @admin.display(description="Last run")
    def last_run(self, schedule: Any) -> SafeString:
        return html.moment(schedule.last_at, schedule.seen_at)

    @admin.display(description="Last result")
    def last_result(self, schedule: Any) -> SafeString | str:
        if schedule.last_task is None:
            return formats.EMPTY_VALUE
        address = reverse("admin:taskqueue_task_change", args=[schedule.last_task["id"]])
        return format_html('<a href="{}">{}</a>', address, html.badge(schedule.last_task["status"]))

    @admin.display(description="Actions")
    def buttons(self, schedule: Any) -> SafeString | str:
        """The button that sends the list's form to `run_view`."""
        if schedule.is_denied:
            return ""
        return format_html(
            '<button type="submit" class="tq-button" formmethod="post" formaction="{}" aria-label="Run {} now"'
            ' title="Submits a task as the next run would. The schedule does not change.">Run now</button>',
            reverse("admin:taskqueue_schedule_run", args=[quote(schedule.pk)]),
            schedule.pk,
        )
