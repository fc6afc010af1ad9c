"""What started nothing and what the clock starts next, in the admin; the next can be started now."""

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
from taskqueue.admin.shared.filters import KnownChoices, PipelineFilter
from taskqueue.admin.shared.models import ReadOnlyAdmin
from taskqueue.admin.shared.pages import named, posted_to
from taskqueue.engine.access.permissions import Action, Rights
from taskqueue.engine.actions import audited
from taskqueue.errors import TaskqueueError
from taskqueue.models import Schedule, Skip, Task
from taskqueue.states import SkipKind

RUN = "taskqueue.add_task"


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

    list_display = ("shown_time", "shown_pipeline", "kind", "reason", "key", "shown_task")
    list_display_links = None
    list_filter = (KindFilter, PipelineFilter)
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Skip]:
        """Skips with the database's present moment."""
        return Skip.objects.annotate(seen_at=Now())

    @admin.display(description="When")
    def shown_time(self, skip: Any) -> SafeString:
        """When it was asked for."""
        return html.moment(skip.created_at, skip.seen_at)

    @admin.display(description="Pipeline")
    def shown_pipeline(self, skip: Skip) -> str:
        """Of which pipeline it would have been."""
        return skip.pipeline_id

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

    list_display = (
        "shown_pipeline", "shown_expression", "misfire", "shown_next", "shown_last", "shown_result", "shown_deeds",
    )  # fmt: skip
    list_display_links = None
    list_filter = (PipelineFilter,)
    ordering = ("next_at", "pk")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        """Schedules with the task of their last tick, and the database's present moment."""
        of_tick = Task.objects.filter(pipeline=OuterRef("pipeline"), cron_at=OuterRef("last_at"))
        last = of_tick.values(told=JSONObject(id="id", status="status"))[:1]
        closed = Rights(request.user).pipelines_denied(Action.RUN)
        is_closed = Case(When(pipeline__in=closed, then=True), default=False, output_field=BooleanField())
        schedules = Schedule.objects.select_related("pipeline")
        return schedules.annotate(seen_at=Now(), last_task=Subquery(last), is_closed=is_closed)

    def get_list_display(self, request: HttpRequest) -> Any:
        """The columns; the button only for those who may submit tasks."""
        may_run = request.user.has_perm(RUN)
        return self.list_display if may_run else [name for name in self.list_display if name != "shown_deeds"]

    def get_urls(self) -> list[URLPattern]:
        """The button's address before the stock ones, which would take it for a name."""
        return [*posted_to(self, "schedule", {"run": self.run_view}), *super().get_urls()]

    def run_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Make a task as the next tick would, on the record of a user; the clock goes on as it would have."""
        if not request.user.has_perm(RUN):
            raise PermissionDenied
        schedule = Schedule.objects.filter(pk=named(object_id)).first()
        if schedule is None:
            self.message_user(request, f"Pipeline {unquote(object_id)} has no schedule.", messages.WARNING)
            return HttpResponseRedirect(reverse("admin:taskqueue_schedule_changelist"))
        if not Rights(request.user).may(Action.RUN, schedule.pipeline_id):
            raise PermissionDenied
        try:
            task = audited.run_now(schedule, actor=task_actions.actor_of(request))
        except TaskqueueError as error:
            self.message_user(request, f"No task was made: {error.detail}", messages.ERROR)
            return HttpResponseRedirect(reverse("admin:taskqueue_schedule_changelist"))
        sentence = "No new task was made: this one stands in for it." if task.duplicate else "The task is made."
        self.message_user(request, sentence, messages.WARNING if task.duplicate else messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:taskqueue_task_change", args=[task.pk]))

    @admin.display(description="Pipeline")
    def shown_pipeline(self, schedule: Schedule) -> SafeString:
        """The way to it; under it that it is paused, for then its ticks are skipped."""
        address = reverse("admin:taskqueue_pipeline_change", args=[quote(schedule.pipeline_id)])
        paused = SafeString('<span class="tq-under">paused: its ticks are skipped</span>')
        return format_html(
            '<a class="tq-name" href="{}">{}</a>{}',
            address,
            schedule.pipeline_id,
            paused if schedule.pipeline.paused_at else "",
        )

    @admin.display(description="Clock")
    def shown_expression(self, schedule: Schedule) -> SafeString:
        """Its expression and time zone."""
        return format_html('<code>{}</code><span class="tq-under">{}</span>', schedule.expression, schedule.timezone)

    @admin.display(description="Next tick")
    def shown_next(self, schedule: Any) -> SafeString:
        """When it starts next."""
        return html.moment(schedule.next_at, schedule.seen_at)

    @admin.display(description="Last tick taken")
    def shown_last(self, schedule: Any) -> SafeString:
        """When it was started last."""
        return html.moment(schedule.last_at, schedule.seen_at)

    @admin.display(description="Last result")
    def shown_result(self, schedule: Any) -> SafeString | str:
        """How the task of the last tick stands."""
        if schedule.last_task is None:
            return formats.NOTHING
        address = reverse("admin:taskqueue_task_change", args=[schedule.last_task["id"]])
        return format_html('<a href="{}">{}</a>', address, html.badge(schedule.last_task["status"]))

    @admin.display(description="Actions")
    def shown_deeds(self, schedule: Any) -> SafeString | str:
        """The button; it sends the list's form to where a task is made."""
        if schedule.is_closed:
            return ""
        return format_html(
            '<button type="submit" class="tq-button" formmethod="post" formaction="{}" aria-label="Run {} now"'
            ' title="Makes a task as the next tick would. The clock goes on as before.">Run now</button>',
            reverse("admin:taskqueue_schedule_run", args=[quote(schedule.pk)]),
            schedule.pk,
        )
