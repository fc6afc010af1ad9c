"""Workers in the admin: which processes live, and what each does now."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Case, F, Q, QuerySet, Value, When
from django.db.models.functions import Now
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin import formats, markup
from taskqueue.admin.readonly import ReadOnlyAdmin
from taskqueue.engine.recovery import SILENCE
from taskqueue.models import Worker

LIVE, SILENT, ENDED = "live", "silent", "ended"


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin[Worker]):
    """Workers, those that have not ended first."""

    list_display = (
        "shown_state",
        "shown_process",
        "version",
        "shown_beat",
        "shown_doing",
        "shown_since",
        "shown_start",
    )
    list_display_links = None
    ordering = (F("ended_at").desc(nulls_first=True), "-id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        """Workers with their state and the database's present moment."""
        state = Case(
            When(ended_at__isnull=False, then=Value(ENDED)),
            When(Q(beat_at__gt=Now() - SILENCE), then=Value(LIVE)),
            default=Value(SILENT),
        )
        return Worker.objects.annotate(state=state, seen_at=Now())

    @admin.display(description="State")
    def shown_state(self, worker: Any) -> SafeString:
        """Live, silent or ended; why it ended."""
        if worker.end_reason:
            return format_html('{}<span class="tq-under">{}</span>', markup.badge(worker.state), worker.end_reason)
        return markup.badge(worker.state)

    @admin.display(description="Process")
    def shown_process(self, worker: Worker) -> str:
        """Where it runs."""
        return f"{worker.host}:{worker.pid}"

    @admin.display(description="Last beat")
    def shown_beat(self, worker: Any) -> SafeString:
        """When it was last heard of."""
        return markup.moment(worker.beat_at, worker.seen_at)

    @admin.display(description="Does now")
    def shown_doing(self, worker: Worker) -> SafeString | str:
        """The step and the task in its hands."""
        if worker.task_id is None or worker.ended_at is not None:
            return formats.NOTHING
        address = reverse("admin:taskqueue_task_change", args=[worker.task_id])
        return format_html(
            '<a href="{}">{} <span class="tq-id">{}</span></a>',
            address,
            worker.step or "between steps",
            formats.id_tail(worker.task_id),
        )

    @admin.display(description="For")
    def shown_since(self, worker: Any) -> str:
        """How long it has been at it."""
        if worker.task_id is None or worker.ended_at is not None:
            return formats.NOTHING
        return formats.duration(formats.between(worker.step_started_at, worker.seen_at))

    @admin.display(description="Started")
    def shown_start(self, worker: Any) -> SafeString:
        """When it started."""
        return markup.moment(worker.started_at, worker.seen_at)
