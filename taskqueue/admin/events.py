"""Events in the admin: what came, and what came of it, to read."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from taskqueue.admin import formats, markup
from taskqueue.admin.readonly import ReadOnlyAdmin
from taskqueue.engine import events, queries
from taskqueue.models import Event, Skip

SHOWN = 50
"""On the page of an event that reached thousands, so many of each."""


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin[Event]):
    """Events, newest first."""

    list_display = ("name", "shown_id", "shown_time", "shown_routing", "started_count", "ended_count", "shown_skips")
    ordering = ("-id",)
    search_fields = ("name__startswith",)
    search_help_text = "Finds names that begin with what you type."
    fields = readonly_fields = (
        "name", "shown_id", "external_id", "shown_source", "shown_received", "shown_data", "shown_started",
        "shown_ended", "shown_cancelled", "shown_reasons",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        """Events with the numbers of what came of them, and the database's present moment."""
        skips = Skip.objects.filter(event=OuterRef("pk"))
        return queries.with_effects(Event.objects.annotate(seen_at=Now(), has_skips=Exists(skips)))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Event | None:
        """The event with what came of it."""
        found: Any = super().get_object(request, object_id, from_field)
        if found is not None:
            events.tell_effects(found, most=SHOWN)
        return found  # type: ignore[no-any-return]

    @admin.display(description="Id")
    def shown_id(self, event: Event) -> SafeString:
        """The end of its id; the whole of it in the title."""
        return format_html('<span class="tq-id" title="{}">{}</span>', event.pk, formats.id_tail(event.pk))

    @admin.display(description="Received")
    def shown_time(self, event: Any) -> SafeString:
        """When it came."""
        return markup.moment(event.received_at, event.seen_at)

    @admin.display(description="Routed")
    def shown_routing(self, event: Any) -> SafeString | str:
        """When it reached those who listened."""
        return markup.moment(event.routed_at, event.seen_at) if event.routed_at else "not yet"

    @admin.display(description="Tasks started")
    def started_count(self, event: Any) -> int:
        """How many it started."""
        count: int = event.tasks_started
        return count

    @admin.display(description="Waits ended")
    def ended_count(self, event: Any) -> int:
        """How many waits it ended, and tasks it cancelled."""
        count: int = event.waits_resolved
        return count

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
        return markup.preformatted(event.data)

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


def link_to(task: Any) -> SafeString:
    """The way to a task's page."""
    address = reverse("admin:taskqueue_task_change", args=[task])
    return format_html('<a href="{}"><span class="tq-id">{}</span></a>', address, formats.id_tail(task))


def listed(rows: list[tuple[Any, Any]]) -> SafeString | str:
    """One line each."""
    return format_html_join(SafeString("<br>"), "{} {}", rows) if rows else formats.NOTHING
