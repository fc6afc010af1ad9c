"""The columns of the task list, and the query with their values."""

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

from taskqueue.admin.shared import formats, html, task_details
from taskqueue.admin.shared.time_spent import time_spent_of
from taskqueue.admin.task.attempts import attempt_number
from taskqueue.admin.tasks import progress_bar
from taskqueue.engine.queries import tasks
from taskqueue.engine.runtime.outcomes import STEP_LIMIT
from taskqueue.models import Attempt, Step, Task
from taskqueue.states import ON_A_TIMER, StepKind, StepStatus, TaskStatus

MAX_ATTEMPTS: Final = 1_000
"""Failed attempts since the last manual retry that a row reads."""

WAITS: Final = {
    StepKind.SLEEP: ("", "wakes"),
    StepKind.WAIT: ("for an event", "times out"),
    StepKind.CHILD: ("for a child task", "times out"),
    StepKind.PARALLEL: ("for parallel steps", "runs"),
}
"""By kind of the waiting step: what the task waits for, and what happens at its due time."""

if TYPE_CHECKING:

    class ListedTask(Task):
        """A task with the annotations of `listing`."""

        steps_done: int
        steps_known: int
        failed_attempt_count: int
        failed_steps: list[str]
        pending: dict[str, Any] | None
        seen_at: datetime
        last_failure: dict[str, Any] | None

        class Meta:
            abstract = True


def listing() -> QuerySet[Task]:
    """The engine's listing with the first unfinished step, the failed attempts and the last error."""
    failures = Attempt.objects.filter(task=OuterRef("pk")).order_by("-pk")
    message = Left("error_message", formats.LINE_LENGTH, output_field=CharField())
    last_failure = Subquery(failures.values(error=JSONObject(type="error_type", message=message))[:1])
    pending = Step.objects.filter(task=OuterRef("pk")).exclude(status=StepStatus.SUCCEEDED).order_by("pk")
    since_retry = Q(task__retried_at=None) | Q(finished_at__gt=F("task__retried_at"))
    return (
        tasks.listing()
        .select_related("worker")
        .annotate(
            seen_at=Now(),
            last_failure=Case(When(status=TaskStatus.RETRYING, then=last_failure), default=Value(None)),
            pending=Subquery(pending.values(step=JSONObject(key="key", status="status", kind="kind"))[:1]),
            failed_steps=ArraySubquery(failures.filter(since_retry).values("step_key")[:MAX_ATTEMPTS]),
        )
    )


@admin.display(description="Status")
def status_badge(task: ListedTask) -> SafeString:
    awaited, verb = waits_for(task)
    lines = [awaited] if awaited else []
    if task.status in ON_A_TIMER and task.due_at is not None:
        lines.append(html.due(verb, task.due_at, task.seen_at))
    below = format_html_join("", '<span class="tq-under">{}</span>', ((line,) for line in lines))
    return format_html("{}{}", html.badge(task.status), below)


@admin.display(description="Task")
def task_name(task: ListedTask) -> SafeString:
    return format_html(
        '<span class="tq-name">{}</span> {}<span class="tq-id" title="{}">{}</span>{}',
        task.pipeline_id,
        format_html('<span class="tq-key">{}</span> ', task.key) if task.key else "",
        task.pk,
        formats.short_id(task.pk),
        task_details.error_line(task.error or task.last_failure),
    )


@admin.display(description="Steps")
def steps(task: ListedTask) -> SafeString:
    is_over = task.status == TaskStatus.SUCCEEDED
    known = task.steps_done if is_over else task.steps_known
    progress = task_details.step_progress(task, task.steps_done, task.steps_known)
    step = current_step(task)
    if is_over:
        step = "step" if task.steps_done == 1 else "steps"
    return format_html(
        '{}<span class="tq-share" title="{} {}">{} <span class="tq-quiet">{}</span></span>',
        progress_bar.draw(task.steps_done, known, current=task_details.current_state(task)),
        progress,
        step,
        progress,
        step,
    )


@admin.display(description="Attempt")
def attempt(task: ListedTask) -> SafeString:
    """The attempt of the current step; of an ended task the largest number of attempts of one step."""
    number = current_attempt(task)
    title = f"{formats.count_of(task.failed_attempt_count, 'failed attempt')} in total"
    css_class = "tq-attempts" if number > 1 else "tq-quiet"
    return format_html('<span class="{}" title="{}">{}</span>', css_class, title, number or formats.EMPTY_VALUE)


@admin.display(description="Queue time")
def queue_time(task: ListedTask) -> str:
    return task_details.queue_time(task, task.seen_at)


@admin.display(description="Duration")
def duration(task: ListedTask) -> SafeString:
    phases = task_details.time_breakdown(time_spent_of(task, task.seen_at))
    return format_html('<span title="{}">{}</span>', phases, task_details.duration(task, task.seen_at))


@admin.display(description="Created")
def created(task: ListedTask) -> SafeString:
    return html.moment(task.created_at, task.seen_at)


@admin.display(description="Worker")
def worker(task: ListedTask) -> str:
    if task.status != TaskStatus.RUNNING or task.worker is None:
        return formats.EMPTY_VALUE
    return f"{task.worker.host}:{task.worker.pid}"


COLUMNS: Final = (status_badge, task_name, steps, attempt, queue_time, duration, created, worker)


def waits_for(task: ListedTask) -> tuple[str, str]:
    """What a waiting task waits for (empty for a time), and what a delayed task does at its due time."""
    if task.status == TaskStatus.RETRYING:
        return "", "retries"
    if task.status != TaskStatus.WAITING:
        return "", "runs"
    if task.blocked_on:
        return ("for a free slot" if task.blocked_on == STEP_LIMIT else f"for rate {task.blocked_on}"), "runs"
    return WAITS.get((task.pending or {}).get("kind", ""), ("", "runs"))


def current_step(task: ListedTask) -> str:
    """The step that a task runs, waits in or failed in; empty when it is unknown."""
    if task.status == TaskStatus.RUNNING and task.worker is not None and (running := task.worker.step_of(task.pk)):
        return running.key
    if task.status == TaskStatus.SUCCEEDED or task.pending is None:
        return ""
    return str(task.pending["key"])


def current_attempt(task: ListedTask) -> int:
    """The number of the current attempt since the last manual retry; 0 before the first start."""
    if task.started_at is None:
        return 0
    if task.status in {TaskStatus.SUCCEEDED, TaskStatus.CANCELLED}:
        return max(Counter(task.failed_steps).values(), default=0) + 1
    pending = task.pending or {"key": (task.error or {}).get("step") or "", "status": task.status}
    if task.status == TaskStatus.RUNNING and current_step(task) not in {"", pending["key"]}:
        pending = {"key": current_step(task), "status": task.status}  # a step that has no record yet
    return attempt_number(task.failed_steps.count(pending["key"]), pending["status"])
