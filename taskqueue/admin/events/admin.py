"""Events in the admin: what came, and what came of it; and one can be sent."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from taskqueue.admin.events.send import NEEDS, EventSending
from taskqueue.admin.shared import formats, html
from taskqueue.admin.shared.models import ReadOnlyAdmin
from taskqueue.engine.access import redaction
from taskqueue.engine.access.permissions import Rights
from taskqueue.engine.events import send
from taskqueue.engine.queries import tasks
from taskqueue.engine.queries.filters import HEX
from taskqueue.models import Event, Skip, Task, Wait

LISTED = 3
"""In the list, so many of each."""
SHOWN = 50
"""On the page of an event that reached thousands, so many of each."""


@admin.register(Event)
class EventAdmin(EventSending, ReadOnlyAdmin[Event]):
    """Events, newest first."""

    list_display = ("name", "shown_id", "shown_time", "shown_routing", "started_count", "ended_count", "shown_skips")
    change_form_template = "admin/taskqueue/event/change_form.html"
    ordering = ("-id",)
    search_fields = ("name",)
    search_help_text = "Finds names and ids that begin with what you type, and the sender's id as a whole."
    fields = readonly_fields = (
        "name", "shown_whole_id", "external_id", "shown_source", "shown_received", "shown_data", "shown_started",
        "shown_ended", "shown_cancelled", "shown_reasons",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        """Events with the numbers of what came of them and the first of it, and the database's present moment."""
        skips = Skip.objects.filter(event=OuterRef("pk"))
        started = Task.objects.filter(event=OuterRef("pk")).order_by("pk").values("pk")[:LISTED]
        ended = Wait.objects.filter(resolved_by=OuterRef("pk")).order_by("pk").values("task")[:LISTED]
        return tasks.with_effects(
            Event.objects.annotate(
                seen_at=Now(),
                has_skips=Exists(skips),
                first_started=ArraySubquery(started),
                first_ended=ArraySubquery(ended),
            )
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Event], search_term: str
    ) -> tuple[QuerySet[Event], bool]:
        """By the beginning of name or id, or by the sender's id."""
        term = search_term.strip().replace("\0", "")
        return (queryset.filter(found_by(term)) if term else queryset), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, with the way to send one."""
        return super().changelist_view(request, {"may_send": request.user.has_perm(NEEDS), **(extra_context or {})})

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The page, with the way to send another one."""
        context["may_send"] = request.user.has_perm(NEEDS)
        return super().render_change_form(request, context, *args, **kwargs)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Event | None:
        """The event with what came of it."""
        found: Any = super().get_object(request, object_id, from_field)
        if found is not None:
            send.tell_effects(found, most=SHOWN)
            redaction.cover_event(found, Rights(request.user))
        return found  # type: ignore[no-any-return]

    @admin.display(description="Id")
    def shown_id(self, event: Event) -> SafeString:
        """The end of its id; the whole of it in the title."""
        return format_html('<span class="tq-id" title="{}">{}</span>', event.pk, formats.id_tail(event.pk))

    @admin.display(description="Id")
    def shown_whole_id(self, event: Event) -> SafeString:
        """All of it."""
        return format_html('<span class="tq-whole-id">{}</span>', event.pk)

    @admin.display(description="Received")
    def shown_time(self, event: Any) -> SafeString:
        """When it came."""
        return html.moment(event.received_at, event.seen_at)

    @admin.display(description="Routed")
    def shown_routing(self, event: Any) -> SafeString | str:
        """When it reached those who listened."""
        return html.moment(event.routed_at, event.seen_at) if event.routed_at else "not yet"

    @admin.display(description="Tasks started")
    def started_count(self, event: Any) -> SafeString | str:
        """How many it started, and the ways to the first of them."""
        return counted(event.tasks_started, event.first_started)

    @admin.display(description="Waits ended")
    def ended_count(self, event: Any) -> SafeString | str:
        """How many waits it ended, and tasks it cancelled, and the ways to the first of them."""
        return counted(event.waits_resolved, event.first_ended)

    @admin.display(description="Skipped")
    def shown_skips(self, event: Any) -> str:
        """Whether something that listened did not start."""
        return "yes" if event.has_skips else formats.NOTHING

    @admin.display(description="Received")
    def shown_received(self, event: Any) -> str:
        """When it came and when it was routed."""
        routed = f"routed {formats.exact(event.routed_at)}" if event.routed_at else "not routed yet"
        return f"{formats.exact(event.received_at)}, {routed}"

    @admin.display(description="Sent by")
    def shown_source(self, event: Event) -> SafeString | str:
        """The task that sent it."""
        return formats.NOTHING if event.source_id is None else link_to(event.source_id)

    @admin.display(description="Data")
    def shown_data(self, event: Event) -> SafeString:
        """What it says."""
        return html.preformatted(event.data)

    @admin.display(description="Tasks started")
    def shown_started(self, event: Any) -> SafeString | str:
        """The ways to them."""
        return listed([(link_to(task.pk), task.pipeline_id) for task in event.started_tasks])

    @admin.display(description="Waits ended")
    def shown_ended(self, event: Any) -> SafeString | str:
        """The ways to the tasks, and the steps."""
        return listed([(link_to(wait.task_id), wait.step_key) for wait in event.ended_waits])

    @admin.display(description="Tasks cancelled")
    def shown_cancelled(self, event: Any) -> SafeString | str:
        """The ways to them."""
        return listed([(link_to(task), "") for task in event.cancelled_tasks])

    @admin.display(description="Not started")
    def shown_reasons(self, event: Any) -> SafeString | str:
        """The pipelines and why."""
        return listed([(skip.pipeline_id, skip.reason) for skip in event.skipped])


def found_by(term: str) -> Q:
    """The events that a search term means. Each part has an index."""
    found = Q(name__startswith=term) | (Q(unique_id=term) & ~Q(unique_id=""))
    begin = term.replace("-", "").lower()
    if HEX.fullmatch(begin):
        found |= Q(id__gte=UUID(begin.ljust(32, "0")), id__lte=UUID(begin.ljust(32, "f")))
    return found


def counted(number: int, first: list[Any]) -> SafeString | str:
    """A number, and the ways to the first of them."""
    if not number:
        return format_html('<span class="tq-quiet">{}</span>', 0)
    links = format_html_join(" ", "{}", ((link_to(task),) for task in first))
    return format_html('{} <span class="tq-under">{}{}</span>', number, links, " …" if number > len(first) else "")


def link_to(task: Any) -> SafeString:
    """The way to a task's page."""
    address = reverse("admin:taskqueue_task_change", args=[task])
    return format_html('<a href="{}"><span class="tq-id">{}</span></a>', address, formats.id_tail(task))


def listed(rows: list[tuple[Any, Any]]) -> SafeString | str:
    """One line each."""
    return format_html_join(SafeString("<br>"), "{} {}", rows) if rows else formats.NOTHING
