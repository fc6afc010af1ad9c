"""The facts at the head of a task's page, and the record of who did what at its foot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from uuid import UUID

from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from taskqueue.admin.bulk_operations import confirm
from taskqueue.admin.bulk_operations.admin import may
from taskqueue.admin.shared import formats, html, task_details
from taskqueue.admin.shared.details import AuditEntry, Fact
from taskqueue.admin.task.links import TaskLinks
from taskqueue.admin.task.page import TaskPage
from taskqueue.admin.task.steps import StepRow
from taskqueue.engine.queries import tasks
from taskqueue.models import BulkOperation, Task
from taskqueue.states import BulkOperationVerb, TaskStatus


def facts_of(page: TaskPage, leads: TaskLinks) -> list[Fact]:
    """All facts about a task; those that do not apply are left out."""
    return [*identity(page.task, leads), *times(page), *doing(page, leads), *code(page.task), *relatives(page)]


def identity(task: Task, leads: TaskLinks) -> Iterator[Fact]:
    """What it is called."""
    yield Fact("Id", format_html('<span class="tq-whole-id">{}</span> {}', task.pk, html.copy(task.pk)), is_wide=True)
    if task.subject:
        yield Fact("About", leads.subject(task), is_wide=True)
    if task.labels:
        yield Fact("Labels", leads.labels(task), is_wide=True)
    if task.priority:
        yield Fact("Priority", f"{task.priority:+}")


def times(page: TaskPage) -> Iterator[Fact]:
    """When it was made, began and ended, and how long that took."""
    task, now = page.task, page.now
    yield Fact("Created", html.moment_in_full(task.created_at, now))
    if task.started_at:
        yield Fact("Started", html.moment_in_full(task.started_at, now))
    if task.retried_at:
        yield Fact("Retried by hand", html.moment_in_full(task.retried_at, now))
    if task.finished_at:
        yield Fact("Ended", html.moment_in_full(task.finished_at, now))
    if task.cancel_reason:
        yield Fact("Cancelled because", task.cancel_reason, is_wide=True)
    if page.next_run_at and task.status != TaskStatus.QUEUED:
        yield Fact("Next run", html.moment_in_full(page.next_run_at, now))
    yield Fact("Took", formats.duration(page.spent.elapsed))
    yield Fact("Of that", task_details.phases(page.spent), is_wide=True)


def doing(page: TaskPage, leads: TaskLinks) -> Iterator[Fact]:
    """How far it is, and in whose hands."""
    if (row := page.current) is not None:
        yield Fact("Attempt", attempt(row))
    yield Fact("Steps" if page.task.status == TaskStatus.SUCCEEDED else "Steps done", page.steps)
    yield Fact("Failed attempts", page.failed_attempts)
    if page.percent is not None and not page.task.has_ended:
        yield Fact("Progress", progress(page.percent, page.task.progress_note))
    if page.task.worker is not None:
        name = "Worker" if page.task.status == TaskStatus.RUNNING else "Last worker"
        yield Fact(name, leads.worker(page.task.worker))


def code(task: Task) -> Iterator[Fact]:
    """The body's version, and that the code changed on the way."""
    if task.version:
        yield Fact("Version", task.version)
    if tasks.code_changed(task):
        yield Fact("Code", f"began on {task.code_began}, ended on {task.code_ended}")


def attempt(row: StepRow) -> SafeString:
    """Which attempt the step that matters is at since its last retry by a person, of how many."""
    of = f" of {max(row.most_tries, row.attempt)}" if row.most_tries is not None else ""
    before = len(row.attempts) - row.failures
    retried = f" since the retry, {formats.count_of(before, 'failed attempt')} before it" if before else ""
    return format_html('<span title="{}">{}{}{}</span>', row.title, row.attempt, of, retried)


def relatives(page: TaskPage) -> Iterator[Fact]:
    """The tasks that it was made from and that were made from it."""
    if page.task.parent_id is not None:
        yield Fact(
            "Child of", format_html("{}, step {}", links([page.task.parent_id]), page.task.parent_key), is_wide=True
        )
    if page.children:
        yield Fact("Child tasks", links(page.children), is_wide=True)
    if page.task.rerun_of_id is not None:
        yield Fact("Rerun of", links([page.task.rerun_of_id]))
    if page.reruns:
        yield Fact("Reruns", links(page.reruns))


def progress(percent: int, note: str) -> SafeString:
    """A bar and what the step says of it."""
    return format_html('<progress max="100" value="{}">{}%</progress> {}% {}', percent, percent, percent, note)


def links(task_ids: list[UUID]) -> SafeString:
    """Links to tasks."""
    rows = ((reverse("admin:taskqueue_task_change", args=[known]), known, formats.id_tail(known)) for known in task_ids)
    return format_html_join(", ", '<a class="tq-id" href="{}" title="{}">{}</a>', rows)


def bulk_entries_of(
    found: Iterable[tuple[datetime, BulkOperation]], now: datetime, request: HttpRequest
) -> list[AuditEntry]:
    """Who started each, what it did, and why; with the way to it for those who may go there."""
    return [
        AuditEntry(operation.started_by or "Somebody", said_of(operation, request), html.moment(moment, now))
        for moment, operation in found
    ]


def said_of(operation: BulkOperation, request: HttpRequest) -> SafeString:
    """What it did, to how many, and why."""
    verb = BulkOperationVerb(operation.verb)
    sentence = f"{confirm.DONE[verb].capitalize()} {confirm.about(operation.estimate)}, this one among them."
    link = format_html(
        '<a href="{}">{}</a>', reverse("admin:taskqueue_bulkoperation_change", args=[operation.pk]), sentence
    )
    return format_html(
        "{}{}",
        link if may_see(request, verb) else sentence,
        f" Reason: {operation.reason}" if operation.reason else "",
    )


def may_see(request: HttpRequest, verb: BulkOperationVerb) -> bool:
    """Whether the user may look at the operation, by the right to all or the one to do the same."""
    return request.user.has_perm("taskqueue.view_bulkoperation") or may(request, verb)
