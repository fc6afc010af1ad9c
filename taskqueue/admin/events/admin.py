"""Events: list and page with what each event started, resolved and cancelled."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from taskqueue.admin.events.send import SEND, send_view
from taskqueue.admin.shared import formats, html
from taskqueue.admin.shared.links import task_link
from taskqueue.admin.shared.models import ReadOnlyAdmin
from taskqueue.admin.shared.pages import FORM
from taskqueue.engine.access import redaction
from taskqueue.engine.access.permissions import CallerPermissions
from taskqueue.engine.events import send
from taskqueue.engine.queries import tasks
from taskqueue.engine.queries.filters import HEX
from taskqueue.models import Event, Skip, Task, Wait

LINKS_IN_LIST = 3
"""Links to tasks in each cell of the list."""
LINKS_ON_PAGE = 50
"""Links to tasks of each kind on an event's page; an event may have reached thousands."""


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin[Event]):
    list_display = ("name", "short_id", "received", "routed", "started_count", "resolved_count", "has_skipped")
    change_form_template = "admin/taskqueue/event/change_form.html"
    ordering = ("-id",)
    search_fields = ("name",)
    search_help_text = "Search by the beginning of the name or ID, or by the sender's whole ID."
    fields = readonly_fields = (
        "name", "full_id", "external_id", "sender", "received_and_routed", "content", "started_tasks",
        "resolved_waits", "cancelled_tasks", "skipped_pipelines",
    )  # fmt: skip

    views = (("send/", "send", send_view, FORM),)
    received = html.moment_column("Received", "received_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        skips = Skip.objects.filter(event=OuterRef("pk"))
        started = Task.objects.filter(event=OuterRef("pk")).order_by("pk").values("pk")[:LINKS_IN_LIST]
        resolved = Wait.objects.filter(resolved_by=OuterRef("pk")).order_by("pk").values("task")[:LINKS_IN_LIST]
        events = (
            super()
            .get_queryset(request)
            .annotate(
                has_skips=Exists(skips), first_started=ArraySubquery(started), first_resolved=ArraySubquery(resolved)
            )
        )
        return tasks.with_effects(events)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Event], search_term: str
    ) -> tuple[QuerySet[Event], bool]:
        term = search_term.strip().replace("\0", "")
        return (queryset.filter(matching(term)) if term else queryset), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"may_send": request.user.has_perm(SEND), **(extra_context or {})})

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        context["may_send"] = request.user.has_perm(SEND)
        return super().render_change_form(request, context, *args, **kwargs)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Event | None:
        """The event with its effects, redacted for the user."""
        found: Any = super().get_object(request, object_id, from_field)
        if found is not None:
            send.attach_effects(found, limit=LINKS_ON_PAGE)
            redaction.redact_event(found, CallerPermissions(request.user))
        return found  # type: ignore[no-any-return]

    @admin.display(description="ID")
    def short_id(self, event: Event) -> SafeString:
        return format_html('<span class="tq-id" title="{}">{}</span>', event.pk, formats.short_id(event.pk))

    @admin.display(description="ID")
    def full_id(self, event: Event) -> SafeString:
        return format_html('<span class="tq-whole-id">{}</span>', event.pk)

    @admin.display(description="Routed")
    def routed(self, event: Any) -> SafeString | str:
        return html.moment(event.routed_at, event.seen_at) if event.routed_at else "not yet"

    @admin.display(description="Tasks started")
    def started_count(self, event: Any) -> SafeString | str:
        return count_and_links(event.tasks_started, event.first_started)

    @admin.display(description="Waits resolved")
    def resolved_count(self, event: Any) -> SafeString | str:
        return count_and_links(event.waits_resolved, event.first_resolved)

    @admin.display(description="Skipped")
    def has_skipped(self, event: Any) -> str:
        return "yes" if event.has_skips else formats.EMPTY_VALUE

    @admin.display(description="Received")
    def received_and_routed(self, event: Any) -> str:
        routed = f"routed {formats.exact(event.routed_at)}" if event.routed_at else "not routed yet"
        return f"{formats.exact(event.received_at)}, {routed}"

    @admin.display(description="Sent by")
    def sender(self, event: Event) -> SafeString | str:
        return formats.EMPTY_VALUE if event.source_id is None else task_link(event.source_id)

    @admin.display(description="Data")
    def content(self, event: Event) -> SafeString:
        return format_html('<pre class="tq-code" tabindex="0">{}</pre>', formats.excerpt(event.data).text)

    @admin.display(description="Tasks started")
    def started_tasks(self, event: Any) -> SafeString | str:
        return lines([(task_link(task.pk), task.pipeline_id) for task in event.started_tasks])

    @admin.display(description="Waits resolved")
    def resolved_waits(self, event: Any) -> SafeString | str:
        return lines([(task_link(wait.task_id), wait.step_key) for wait in event.ended_waits])

    @admin.display(description="Tasks cancelled")
    def cancelled_tasks(self, event: Any) -> SafeString | str:
        return lines([(task_link(task), "") for task in event.cancelled_tasks])

    @admin.display(description="Not started")
    def skipped_pipelines(self, event: Any) -> SafeString | str:
        return lines([(skip.pipeline_id, skip.reason) for skip in event.skipped])


def matching(term: str) -> Q:
    """The events that a search term finds; each alternative uses an index."""
    condition = Q(name__startswith=term) | (Q(unique_id=term) & ~Q(unique_id=""))
    prefix = term.replace("-", "").lower()
    if HEX.fullmatch(prefix):
        condition |= Q(id__gte=UUID(prefix.ljust(32, "0")), id__lte=UUID(prefix.ljust(32, "f")))
    return condition


def count_and_links(number: int, first: list[Any]) -> SafeString | str:
    if not number:
        return format_html('<span class="tq-quiet">{}</span>', 0)
    links = format_html_join(" ", "{}", ((task_link(task),) for task in first))
    return format_html('{} <span class="tq-under">{}{}</span>', number, links, " …" if number > len(first) else "")


def lines(rows: list[tuple[Any, Any]]) -> SafeString | str:
    return format_html_join(SafeString("<br>"), "{} {}", rows) if rows else formats.EMPTY_VALUE
