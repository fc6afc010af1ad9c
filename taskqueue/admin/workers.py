"""Workers in the admin: which processes live, what each does now, and draining them."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.admin.views.main import ChangeList
from django.contrib.contenttypes.models import ContentType
from django.db.models import Case, Count, F, Q, QuerySet, Value, When
from django.db.models.functions import Now
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin.drains import NEEDS, Drains
from taskqueue.admin.shared import formats, html
from taskqueue.admin.shared.details import audit_entries_of
from taskqueue.admin.shared.models import ReadOnlyAdmin
from taskqueue.engine.runtime.liveness import SILENCE
from taskqueue.engine.worker.heartbeat import running_version
from taskqueue.models import Worker

version_here = cache(running_version)
LIVE, SILENT, UNABLE, ENDED, DRAINING, DRAINED = "live", "silent", "claim_error", "ended", "draining", "drained"
HISTORY_SHOWN = 30


class WorkerChangeList(ChangeList):
    """A page of workers, which knows whether one of them lives."""

    has_live = True

    def get_results(self, request: HttpRequest) -> None:
        """Read the page. Those that have not ended come first, so that the first page tells."""
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        self.has_live = self.page_num > 1 or any(row.state not in {SILENT, ENDED} for row in rows)
        commands = commands_now()
        for row in rows:
            row.slots, row.busy = commands.get((row.host, row.cluster), (0, 0))
        self.result_list = rows


@admin.register(Worker)
class WorkerAdmin(Drains, ReadOnlyAdmin[Worker]):
    """Workers, those that have not ended first."""

    list_display = (
        "shown_state", "shown_process", "shown_command", "version_shown", "shown_beat", "shown_doing", "shown_since",
        "shown_start", "shown_deeds",
    )  # fmt: skip
    list_display_links = ("shown_process",)
    change_form_template = "admin/taskqueue/worker/change_form.html"
    ordering = (F("ended_at").desc(nulls_first=True), "-id")
    actions = ("drain_selected", "resume_selected")
    fields = readonly_fields = (
        "shown_state", "shown_command", "version_shown", "shown_beat", "shown_doing", "shown_since", "shown_start",
        "shown_end", "shown_pipelines",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        """Workers with their state and the database's present moment."""
        state = Case(
            When(ended_at__isnull=False, then=Value(ENDED)),
            When(heartbeat_at__lte=Now() - SILENCE, then=Value(SILENT)),
            When(~Q(claim_error=""), then=Value(UNABLE)),
            When(draining_at__isnull=False, task_id__isnull=False, then=Value(DRAINING)),
            When(draining_at__isnull=False, then=Value(DRAINED)),
            default=Value(LIVE),
        )
        return Worker.objects.annotate(state=state, seen_at=Now())

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Worker | None:
        """The worker with the size of its command."""
        found: Any = super().get_object(request, object_id, from_field)
        if found is not None:
            found.slots, found.busy = commands_now().get((found.host, found.cluster), (0, 0))
        return found  # type: ignore[no-any-return]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """The list that knows whether a worker lives."""
        return WorkerChangeList

    def get_list_display(self, request: HttpRequest) -> Any:
        """The columns; the buttons only for those who may drain."""
        may_drain = request.user.has_perm(NEEDS)
        return self.list_display if may_drain else [name for name in self.list_display if name != "shown_deeds"]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The page, with who drained it, and the button for those who may."""
        worker: Any = kwargs.get("obj")
        content_type = ContentType.objects.get_for_model(Worker)
        entries = LogEntry.objects.filter(content_type=content_type, object_id=str(worker.pk)).select_related("user")
        context["history"] = audit_entries_of(list(entries.order_by("-pk")[:HISTORY_SHOWN]), worker.seen_at)
        context["title"] = str(worker)
        context["button"] = button_of(worker, back="page") if request.user.has_perm(NEEDS) else ""
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="State")
    def shown_state(self, worker: Any) -> SafeString:
        """Live, draining, silent, unable to claim, or ended; since when it drains, why it cannot, or why it ended."""
        note: Any = worker.end_reason or (worker.claim_error if worker.state == UNABLE else "")
        if worker.state in {DRAINING, DRAINED}:
            note = format_html("asked {}", html.moment(worker.draining_at, worker.seen_at))
        badge = html.badge(worker.state)
        return format_html('{}<span class="tq-under">{}</span>', badge, note) if note else badge

    @admin.display(description="Process")
    def shown_process(self, worker: Worker) -> str:
        """Where it runs."""
        return f"{worker.host}:{worker.pid}"

    @admin.display(description="Pool")
    def shown_command(self, worker: Any) -> SafeString | str:
        """How many processes its command has, and how many of them are at work."""
        if worker.ended_at is not None:
            return formats.NOTHING
        return format_html(
            '<span class="tq-meter"><progress max="{}" value="{}" aria-label="Busy"></progress> {}</span>',
            worker.slots,
            worker.busy,
            f"{worker.busy} of {worker.slots} busy",
        )

    @admin.display(description="Version")
    def version_shown(self, worker: Worker) -> SafeString | str:
        """The version that it runs; marked when it is not this page's."""
        if worker.version == running_version() or worker.ended_at is not None:
            return worker.version
        return format_html(
            '<span class="tq-tries" title="This page runs {}.">{}</span>', running_version(), worker.version
        )

    @admin.display(description="Heartbeat")
    def shown_beat(self, worker: Any) -> SafeString:
        """When it was last heard of."""
        return html.moment(worker.heartbeat_at, worker.seen_at)

    @admin.display(description="Current step")
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

    @admin.display(description="Running for")
    def shown_since(self, worker: Any) -> str:
        """How long it has been at it."""
        if worker.task_id is None or worker.ended_at is not None:
            return formats.NOTHING
        return formats.duration(formats.between(worker.step_started_at, worker.seen_at))

    @admin.display(description="Started")
    def shown_start(self, worker: Any) -> SafeString:
        """When it started."""
        return html.moment(worker.started_at, worker.seen_at)

    @admin.display(description="Ended")
    def shown_end(self, worker: Any) -> SafeString:
        """When it ended."""
        return html.moment(worker.ended_at, worker.seen_at)

    @admin.display(description="Pipelines that it knows")
    def shown_pipelines(self, worker: Worker) -> str:
        """Their names."""
        return ", ".join(worker.pipelines) or formats.NOTHING

    @admin.display(description="Actions")
    def shown_deeds(self, worker: Any) -> SafeString | str:
        """The button; it sends the list's form to where the worker is drained or resumed."""
        return button_of(worker) or formats.NOTHING


def commands_now() -> dict[tuple[str, str], tuple[int, int]]:
    """Of each command, by host and name, how many processes live and how many of them have a task; one query."""
    living = Worker.objects.filter(ended_at=None).order_by()
    counted = living.values_list("host", "cluster").annotate(slots=Count("pk"), busy=Count("task_id"))
    return {(host, cluster): (slots, busy) for host, cluster, slots, busy in counted}


def button_of(worker: Worker, *, back: str = "list") -> SafeString:
    """Drain or resume; none for a worker that has ended."""
    if worker.ended_at is not None:
        return SafeString("")
    noun = "resume" if worker.draining_at else "drain"
    title = "Lets it take tasks again." if worker.draining_at else "It ends its task and takes no other one."
    return format_html(
        '<button type="submit" class="tq-button" formmethod="post" formaction="{}?back={}" title="{}"'
        ' aria-label="{} {}">{}</button>',
        reverse(f"admin:taskqueue_worker_{noun}", args=[worker.pk]), back, title, noun.capitalize(), worker,
        noun.capitalize(),
    )  # fmt: skip
