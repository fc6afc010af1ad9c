"""Workers: live processes, the current step of each, and draining them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import F, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats, html
from taskqueue.admin.shared.details import audit_entries_of, log_entries_of
from taskqueue.admin.shared.links import link, list_url, page_url, view_url
from taskqueue.admin.shared.models import ReadOnlyAdmin
from taskqueue.admin.shared.pages import POST, redirect
from taskqueue.admin.shared.queues import queues_text, taken_by
from taskqueue.admin.shared.task_actions import actor_of
from taskqueue.engine.actions import drain
from taskqueue.engine.runtime.worker_states import WorkerState, with_state
from taskqueue.engine.worker.heartbeat import running_version
from taskqueue.errors import NotDrainable, WorkerNotFound
from taskqueue.models import Worker
from taskqueue.models.worker import EVENT_LOOP

DRAIN = "taskqueue.change_worker"
"""The permission to drain and resume workers."""
SELECTED_AT_MOST = 200
HISTORY_SHOWN = 30


class WorkerChangeList(ChangeList):
    """A page of workers. `has_live` is False when no worker is live."""

    has_live = True

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        # Workers that have not ended come first, so the first page is enough to know.
        self.has_live = self.page_num > 1 or any(
            row.state not in {WorkerState.SILENT, WorkerState.ENDED} for row in rows
        )
        pools = pool_sizes()
        for row in rows:
            row.pool_slots, row.pool_busy = pools.get((row.host, row.cluster), (0, 0))
        self.result_list = rows


def drain_view(admin: Any, request: HttpRequest, worker_id: int) -> HttpResponse:
    result = "finishes its task and takes no other until you resume it."
    return apply(admin, request, worker_id, drain.drain_worker, result)


def resume_view(admin: Any, request: HttpRequest, worker_id: int) -> HttpResponse:
    return apply(admin, request, worker_id, drain.resume_worker, "takes tasks again.")


def apply(admin: Any, request: HttpRequest, worker_id: int, action: Any, result: str) -> HttpResponse:
    if not request.user.has_perm(DRAIN):
        raise PermissionDenied
    back = page_url("worker", worker_id) if request.GET.get("back") == "page" else list_url("worker")
    try:
        worker = action(worker_id, actor=actor_of(request))
    except WorkerNotFound as error:
        return redirect(admin, request, list_url("worker"), error.detail, messages.WARNING)
    except NotDrainable as error:
        return redirect(admin, request, back, error.detail, messages.ERROR)
    return redirect(admin, request, back, f"Worker {worker} {result}")


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin[Worker]):
    list_display = (
        "state", "process", "pool", "code_version", "heartbeat", "current_step", "running_for", "started", "buttons",
    )  # fmt: skip
    list_display_links = ("process",)
    change_form_template = "admin/taskqueue/worker/change_form.html"
    ordering = (F("ended_at").desc(nulls_first=True), "host", "pid", "thread", "-id")
    actions = ("drain_selected", "resume_selected")
    buttons_need = DRAIN
    views = (
        ("<int:worker_id>/drain/", "drain", drain_view, POST),
        ("<int:worker_id>/resume/", "resume", resume_view, POST),
    )
    heartbeat = html.moment_column("Heartbeat", "heartbeat_at")
    started = html.moment_column("Started", "started_at")
    ended = html.moment_column("Ended", "ended_at")
    fields = readonly_fields = (
        "state", "pool", "taken_queues", "code_version", "heartbeat", "current_step", "running_for", "started", "ended",
        "deployed_pipelines",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        return with_state(super().get_queryset(request))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Worker | None:
        worker: Any = super().get_object(request, object_id, from_field)
        if worker is not None:
            worker.pool_slots, worker.pool_busy = pool_sizes().get((worker.host, worker.cluster), (0, 0))
        return worker  # type: ignore[no-any-return]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return WorkerChangeList

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        worker: Any = kwargs.get("obj")
        context |= {
            "history": audit_entries_of(log_entries_of(Worker, worker.pk, limit=HISTORY_SHOWN), worker.seen_at),
            "title": str(worker),
            "button": drain_button(worker, back="page") if self.has_drain_permission(request) else "",
        }
        return super().render_change_form(request, context, *args, **kwargs)

    def has_drain_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(DRAIN)

    @admin.action(description="Drain selected workers", permissions=["drain"])
    def drain_selected(self, request: HttpRequest, queryset: QuerySet[Worker]) -> None:
        self.apply_to_all(request, queryset, drain.drain_worker, "drained")

    @admin.action(description="Resume selected workers", permissions=["drain"])
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[Worker]) -> None:
        self.apply_to_all(request, queryset, drain.resume_worker, "resumed")

    def apply_to_all(self, request: HttpRequest, queryset: QuerySet[Worker], action: Any, participle: str) -> None:
        """Drain or resume each worker, and report how many were, and why the others were not."""
        errors = []
        selected = list(queryset.order_by("pk").values_list("pk", flat=True)[:SELECTED_AT_MOST])
        for worker_id in selected:
            try:
                action(worker_id, actor=actor_of(request))
            except (NotDrainable, WorkerNotFound) as error:
                errors.append(error.detail)
        count = len(selected) - len(errors)
        message = " ".join([f"{formats.count_of(count, 'worker')} {participle}.", *errors[:5]])
        self.message_user(request, message, messages.WARNING if errors else messages.SUCCESS)

    @admin.display(description="State")
    def state(self, worker: Any) -> SafeString:
        note: Any = worker.end_reason or (worker.claim_error if worker.state == WorkerState.CLAIM_ERROR else "")
        if worker.state in {WorkerState.DRAINING, WorkerState.DRAINED}:
            note = format_html("requested {}", html.moment(worker.draining_at, worker.seen_at))
        return html.with_note(html.badge(worker.state), note)

    @admin.display(description="Process")
    def process(self, worker: Worker) -> SafeString:
        return html.with_note(worker, "" if taken_by(worker).takes_all else f"queues: {queues_text(worker)}")

    @admin.display(description="Pool")
    def pool(self, worker: Any) -> SafeString | str:
        if worker.ended_at is not None:
            return formats.EMPTY_VALUE
        return html.meter(
            worker.pool_busy, worker.pool_slots, label="Busy", text=f"{worker.pool_busy} of {worker.pool_slots} busy"
        )

    @admin.display(description="Queues")
    def taken_queues(self, worker: Worker) -> str:
        return queues_text(worker)

    @admin.display(description="Version")
    def code_version(self, worker: Worker) -> SafeString | str:
        if worker.version == running_version() or worker.ended_at is not None:
            return worker.version
        return format_html(
            '<span class="tq-attempts" title="This page runs {}.">{}</span>', running_version(), worker.version
        )

    @admin.display(description="Current step")
    def current_step(self, worker: Worker) -> SafeString | str:
        if worker.task_id is None or worker.ended_at is not None:
            return formats.EMPTY_VALUE
        if worker.thread == EVENT_LOOP:
            return f"{worker.executing} of {formats.count_of(worker.slots, 'task')}"
        task_id = format_html('<span class="tq-id">{}</span>', formats.short_id(worker.task_id))
        return link(page_url("task", worker.task_id), format_html("{} {}", worker.step or "between steps", task_id))

    @admin.display(description="Running for")
    def running_for(self, worker: Any) -> str:
        if worker.task_id is None or worker.ended_at is not None:
            return formats.EMPTY_VALUE
        return formats.duration(formats.between(worker.step_started_at, worker.seen_at))

    @admin.display(description="Deployed pipelines")
    def deployed_pipelines(self, worker: Worker) -> str:
        return ", ".join(worker.pipelines) or formats.EMPTY_VALUE

    @admin.display(description="Actions")
    def buttons(self, worker: Any) -> SafeString | str:
        return drain_button(worker) or formats.EMPTY_VALUE


def pool_sizes() -> dict[tuple[str, str], tuple[int, int]]:
    """How many tasks the live workers can execute and execute now, by host and name of the pool; one query."""
    live = Worker.objects.filter(ended_at=None).order_by()
    counted = live.values_list("host", "cluster").annotate(sum_slots=Sum("slots"), busy=Sum("executing"))
    return {(host, cluster): (slots, busy) for host, cluster, slots, busy in counted}


def drain_button(worker: Worker, *, back: str = "list") -> SafeString:
    """The button that drains or resumes a worker; empty for one that has ended."""
    if worker.ended_at is not None:
        return SafeString("")
    verb = "resume" if worker.draining_at else "drain"
    title = "Takes tasks again." if worker.draining_at else "Finishes its task and takes no other."
    return format_html(
        '<button type="submit" class="tq-button" formmethod="post" formaction="{}?back={}" title="{}"'
        ' aria-label="{} {}">{}</button>',
        view_url("worker", verb, worker.pk), back, title, verb.capitalize(), worker,
        verb.capitalize(),
    )  # fmt: skip
