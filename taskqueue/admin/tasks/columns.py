"""The columns of the task list: one row's facts as cells."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Case, CharField, F, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import JSONObject, Left, Now
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats, html
from taskqueue.admin.shared.task_details import phases, present_state, shown_error, steps_share, took, waited
from taskqueue.admin.task.attempts import attempt_number
from taskqueue.admin.tasks import segments
from taskqueue.engine.queries import tasks
from taskqueue.engine.queries.time_spent import spent_of
from taskqueue.engine.runtime.outcomes import STEP_LIMIT
from taskqueue.models import Attempt, Step, Task
from taskqueue.states import ON_A_TIMER, StepKind, StepStatus, TaskStatus

TRIES_COUNTED: Final = 1_000
"""Failed attempts since the last retry by a person, of which a row counts those of one step."""

WAITS: Final = {
    StepKind.SLEEP: ("", "wakes"),
    StepKind.WAIT: ("for an event", "gives up"),
    StepKind.CHILD: ("for a child task", "gives up"),
    StepKind.PARALLEL: ("for parallel steps", "runs"),
}
"""By the kind of the step that a task waits in."""

if TYPE_CHECKING:

    class ListedTask(Task):
        """A task with what the list's query adds to it."""

        steps_done: int
        steps_known: int
        tries: int
        tried: list[str]
        pending: dict[str, Any] | None
        seen_at: datetime
        last_failure: dict[str, Any] | None

        class Meta:
            abstract = True


def listed() -> QuerySet[Task]:
    """The engine's listing, with what else a row shows: the step that is not over, and the last failed attempt."""
    failures = Attempt.objects.filter(task=OuterRef("pk")).order_by("-pk")
    message = Left("error_message", formats.LINE_LENGTH, output_field=CharField())
    last = Subquery(failures.values(said=JSONObject(type="error_type", message=message))[:1])
    steps = Step.objects.filter(task=OuterRef("pk"))
    pending = steps.exclude(status=StepStatus.SUCCEEDED).order_by("pk")
    lately = Q(task__retried_at=None) | Q(finished_at__gt=F("task__retried_at"))
    return (
        tasks.listing()
        .select_related("worker")
        .annotate(
            seen_at=Now(),
            last_failure=Case(When(status=TaskStatus.RETRYING, then=last), default=Value(None)),
            pending=Subquery(pending.values(step=JSONObject(key="key", status="status", kind="kind"))[:1]),
            tried=ArraySubquery(failures.filter(lately).values("step_key")[:TRIES_COUNTED]),
        )
    )


class TaskColumns:
    """Methods for `list_display`."""

    @admin.display(description="Status")
    def shown_status(self, task: ListedTask) -> SafeString:
        """The badge; under it what a waiting task waits for, and when a task on a timer goes on."""
        wanted, verb = waits_for(task)
        lines = [wanted] if wanted else []
        if task.status in ON_A_TIMER and task.due_at is not None:
            lines.append(html.due(verb, task.due_at, task.seen_at))
        under = format_html_join("", '<span class="tq-under">{}</span>', ((line,) for line in lines))
        return format_html("{}{}", html.badge(task.status), under)

    @admin.display(description="Task")
    def shown_task(self, task: ListedTask) -> SafeString:
        """Pipeline, key and the end of the id; under them what went wrong."""
        return format_html(
            '<span class="tq-name">{}</span> {}<span class="tq-id" title="{}">{}</span>{}',
            task.pipeline_id,
            format_html('<span class="tq-key">{}</span> ', task.key) if task.key else "",
            task.pk,
            formats.id_tail(task.pk),
            shown_error(task.error or task.last_failure),
        )

    @admin.display(description="Steps")
    def shown_steps(self, task: ListedTask) -> SafeString:
        """A bar with a piece for each step; under it how many are done, and which one it is in."""
        is_over = task.status == TaskStatus.SUCCEEDED
        known = task.steps_done if is_over else task.steps_known
        share = steps_share(task, task.steps_done, task.steps_known)
        step = present_step(task)
        if is_over:
            step = "step" if task.steps_done == 1 else "steps"
        return format_html(
            '{}<span class="tq-share" title="{} {}">{} <span class="tq-quiet">{}</span></span>',
            segments.bar_of(task.steps_done, known, present=present_state(task)),
            share,
            step,
            share,
            step,
        )

    @admin.display(description="Attempt")
    def shown_attempt(self, task: ListedTask) -> SafeString:
        """Which attempt of its step it is at; of an ended task the most that a step took."""
        number = attempt_of(task)
        said = f"{formats.count_of(task.tries, 'failed attempt')} in all"
        kind = "tq-tries" if number > 1 else "tq-quiet"
        return format_html('<span class="{}" title="{}">{}</span>', kind, said, number or formats.NOTHING)

    @admin.display(description="In queue")
    def shown_wait(self, task: ListedTask) -> str:
        """How long it was ready and had no worker."""
        return waited(task, task.seen_at)

    @admin.display(description="Took")
    def shown_length(self, task: ListedTask) -> SafeString:
        """From when it was due to its end, and where that time went."""
        spent = spent_of(task, task.seen_at)
        return format_html('<span title="{}">{}</span>', phases(spent), took(task, task.seen_at))

    @admin.display(description="Created")
    def shown_creation(self, task: ListedTask) -> SafeString:
        """When it was made."""
        return html.moment(task.created_at, task.seen_at)

    @admin.display(description="Worker")
    def shown_worker(self, task: ListedTask) -> str:
        """The process that runs it."""
        if task.status != TaskStatus.RUNNING or task.worker is None:
            return formats.NOTHING
        return f"{task.worker.host}:{task.worker.pid}"


def waits_for(task: ListedTask) -> tuple[str, str]:
    """What a waiting task waits for, empty for a time alone; and what any task does when its time comes."""
    if task.status == TaskStatus.RETRYING:
        return "", "retries"
    if task.status != TaskStatus.WAITING:
        return "", "runs"
    if task.blocked_on:
        return ("for a free place" if task.blocked_on == STEP_LIMIT else f"for rate {task.blocked_on}"), "runs"
    return WAITS.get((task.pending or {}).get("kind", ""), ("", "runs"))


def present_step(task: ListedTask) -> str:
    """The step that a task is in, waits in or failed in; empty when none is known."""
    if task.status == TaskStatus.RUNNING and task.worker is not None and task.worker.task_id == task.pk:
        return task.worker.step
    if task.status == TaskStatus.SUCCEEDED or task.pending is None:
        return ""
    return str(task.pending["key"])


def attempt_of(task: ListedTask) -> int:
    """The number of the present attempt since its last retry by a person; none before the first start."""
    if task.started_at is None:
        return 0
    if task.status in {TaskStatus.SUCCEEDED, TaskStatus.CANCELLED}:
        return max(Counter(task.tried).values(), default=0) + 1
    pending = task.pending or {"key": (task.error or {}).get("step") or "", "status": task.status}
    if task.status == TaskStatus.RUNNING and present_step(task) not in {"", pending["key"]}:
        pending = {"key": present_step(task), "status": task.status}  # a step that has no record yet
    return attempt_number(task.tried.count(pending["key"]), pending["status"])
