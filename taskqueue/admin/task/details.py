"""The details at the head of a task's page, and the bulk operations in its activity list."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from taskqueue.admin.bulk_operations import confirm
from taskqueue.admin.bulk_operations.admin import may
from taskqueue.admin.shared import formats, html, task_details
from taskqueue.admin.shared.details import AuditEntry, Detail
from taskqueue.admin.shared.links import link, page_url
from taskqueue.admin.task.links import TaskLinks
from taskqueue.admin.task.page import TaskPage
from taskqueue.admin.task.steps import StepRow
from taskqueue.engine.maintenance.bulk_operations import about
from taskqueue.engine.queries import tasks
from taskqueue.models import BulkOperation, Task
from taskqueue.states import ENDED, BulkOperationVerb, TaskStatus

BULK_OPERATIONS_SHOWN = 50


def details_of(page: TaskPage, links: TaskLinks) -> list[Detail]:
    return [
        *identity(page.task, links),
        *times(page),
        *progress(page, links),
        *code(page.task),
        *relatives(page),
    ]


def identity(task: Task, links: TaskLinks) -> Iterator[Detail]:
    whole_id = format_html('<span class="tq-whole-id">{}</span> {}', task.pk, html.copy_button(task.pk))
    yield Detail("ID", whole_id, is_wide=True)
    if task.subject:
        yield Detail("About", links.subject(task), is_wide=True)
    if task.labels:
        yield Detail("Labels", links.labels(task), is_wide=True)
    if task.priority:
        yield Detail("Priority", f"{task.priority:+}")


def times(page: TaskPage) -> Iterator[Detail]:
    task, now = page.task, page.now
    yield Detail("Created", html.moment_with_seconds(task.created_at, now))
    if task.started_at:
        yield Detail("Started", html.moment_with_seconds(task.started_at, now))
    if task.retried_at:
        yield Detail("Retried", html.moment_with_seconds(task.retried_at, now))
    if task.finished_at:
        yield Detail("Ended", html.moment_with_seconds(task.finished_at, now))
    if task.cancel_reason:
        yield Detail("Cancel reason", task.cancel_reason, is_wide=True)
    if task.due_at and task.status not in (*ENDED, TaskStatus.RUNNING, TaskStatus.QUEUED):
        yield Detail("Next run", html.moment_with_seconds(task.due_at, now))
    if task.step_queue and not task.has_ended:
        yield Detail("Queue", task.step_queue)
    yield Detail("Duration", formats.duration(page.spent.elapsed))
    yield Detail("Time spent", task_details.time_breakdown(page.spent), is_wide=True)


def progress(page: TaskPage, links: TaskLinks) -> Iterator[Detail]:
    if (row := page.current) is not None:
        yield Detail("Attempt", attempt(row))
    yield Detail("Steps" if page.task.status == TaskStatus.SUCCEEDED else "Steps done", page.steps)
    yield Detail("Failed attempts", page.failed_attempts)
    if page.task.progress is not None and not page.task.has_ended:
        percent = round(page.task.progress * 100)
        bar = format_html('<progress max="100" value="{}">{}%</progress>', percent, percent)
        yield Detail("Progress", format_html("{} {}% {}", bar, percent, page.task.progress_note))
    if page.task.worker is not None:
        name = "Worker" if page.task.status == TaskStatus.RUNNING else "Last worker"
        yield Detail(name, links.row("worker", page.task.worker.pk, str(page.task.worker)))


def code(task: Task) -> Iterator[Detail]:
    if task.version:
        yield Detail("Version", task.version)
    if tasks.code_changed(task):
        yield Detail("Code", f"began on {task.code_began}, ended on {task.code_ended}")


def attempt(row: StepRow) -> SafeString:
    """The attempt of the current step since its last manual retry, of how many, and the failed ones before that."""
    limit = f" of {max(row.max_attempts, row.attempt)}" if row.max_attempts is not None else ""
    before = len(row.attempts) - row.failures
    retried = f" since the retry, {formats.count_of(before, 'failed attempt')} before it" if before else ""
    return format_html('<span title="{}">{}{}{}</span>', row.title, row.attempt, limit, retried)


def relatives(page: TaskPage) -> Iterator[Detail]:
    task = page.task
    if task.parent_id is not None:
        parent = format_html("{}, step {}", task_links([task.parent_id]), task.parent_key)
        yield Detail("Child of", parent, is_wide=True)
    if page.children:
        yield Detail("Child tasks", task_links(page.children), is_wide=True)
    if task.rerun_of_id is not None:
        yield Detail("Rerun of", task_links([task.rerun_of_id]))
    if page.reruns:
        yield Detail("Reruns", task_links(page.reruns))


def task_links(task_ids: list[UUID]) -> SafeString:
    rows = ((page_url("task", task_id), task_id, formats.short_id(task_id)) for task_id in task_ids)
    return format_html_join(", ", '<a class="tq-id" href="{}" title="{}">{}</a>', rows)


def bulk_entries_of(task: Task, now: datetime, request: HttpRequest) -> list[AuditEntry]:
    """The last bulk operations that changed a task, linked where the user may view them; at most one query."""
    operations = BulkOperation.objects.filter(pk__in=task.bulk_operations or []).order_by("-pk")
    return [
        AuditEntry(each.started_by or "Unknown user", message_of(each, request), html.moment(each.started_at, now))
        for each in operations[:BULK_OPERATIONS_SHOWN]
    ]


def message_of(operation: BulkOperation, request: HttpRequest) -> SafeString:
    verb = BulkOperationVerb(operation.verb)
    sentence = f"{confirm.DONE[verb].capitalize()} {about(operation.estimate)}, including this one."
    may_view = request.user.has_perm("taskqueue.view_bulkoperation") or may(request, verb)
    text = link(page_url("bulkoperation", operation.pk), sentence) if may_view else sentence
    return format_html("{}{}", text, f" Reason: {operation.reason}" if operation.reason else "")
