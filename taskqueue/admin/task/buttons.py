"""The buttons of a task's page. A button that does not apply is disabled and says why, so that the layout is stable."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

from django.urls import reverse
from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats, html
from taskqueue.admin.task.page import TaskPage
from taskqueue.engine.queries.reasons import Code
from taskqueue.engine.tasks.control import RETRYABLE
from taskqueue.models import Task
from taskqueue.states import ON_A_TIMER, TaskStatus

ABOUT_EDIT = "Creates a new task from a payload that you edit. The pipeline's schema validates it first."
ABOUT_RERUN = "Creates a new task with this payload, priority and labels. No step output is kept."


@dataclass(frozen=True, kw_only=True)
class AllowedActions:
    """What a user may do to tasks."""

    retry: bool = False
    run_now: bool = False
    cancel: bool = False
    rerun: bool = False


@dataclass(frozen=True, kw_only=True)
class Button:
    """A button or link.

    Attributes:
        action: the end of its URL.
        title: its consequence, or why it is disabled.
        dialog: the id of the dialog that it opens, if it does not act at once.
        is_link: it leads to another page.
    """

    action: str
    label: str
    title: str
    is_enabled: bool
    address: str
    icon: SafeString
    dialog: str = ""
    is_link: bool = False


def action_buttons(page: TaskPage, allowed: AllowedActions) -> list[Button]:
    task = page.task
    buttons = []
    if allowed.retry:
        retry = button(task, "retry", "again", about_retry(page), is_enabled=task.status in RETRYABLE)
        buttons.append(replace(retry, is_link=retry.is_enabled and page.recorded - page.steps_kept > 1))
    if allowed.run_now:
        run_now = button(task, "run_now", "bolt", about_run_now(page), is_enabled=is_delayed(page))
        buttons.append(replace(run_now, label="Run now"))
    if allowed.cancel:
        cancel = button(task, "cancel", "stop", about_cancel(task), is_enabled=not task.has_ended)
        buttons.append(replace(cancel, dialog="cancel-dialog"))
    if allowed.rerun:
        buttons.append(replace(button(task, "rerun", "copy", ABOUT_RERUN, is_enabled=True), is_link=True))
        if page.shows_payload:
            edit = button(task, "edit", "pencil", ABOUT_EDIT, is_enabled=True)
            buttons.append(replace(edit, label="Edit and rerun", is_link=True))
    return buttons


def neighbour_buttons(page: TaskPage) -> list[Button]:
    return [neighbour(page.newer, "newer", "left"), neighbour(page.older, "older", "right")]


def neighbour(task_id: UUID | None, word: str, icon: str) -> Button:
    return Button(
        action=word,
        label=f"{word.capitalize()} task",
        title=f"The next {word} task" if task_id else f"There is no {word} task.",
        is_enabled=task_id is not None,
        address=reverse("admin:taskqueue_task_change", args=[task_id]) if task_id else "",
        icon=html.icon(icon),
        is_link=True,
    )


def button(task: Task, action: str, icon: str, title: str, *, is_enabled: bool) -> Button:
    return Button(
        action=action,
        label=action.capitalize(),
        title=title,
        is_enabled=is_enabled,
        address=reverse(f"admin:taskqueue_task_{action}", args=[task.pk]),
        icon=html.icon(icon),
    )


def about_retry(page: TaskPage) -> str:
    status = page.task.status
    if status in RETRYABLE:
        kept = formats.count_of(page.steps_kept, "finished step")
        return f"Queues the task again and keeps the results of its {kept}."
    if status == TaskStatus.SUCCEEDED:
        return "The task has succeeded. Retry it from one of its steps, or rerun it."
    return f"The task is {status}: it has not ended."


def is_delayed(page: TaskPage) -> bool:
    """Whether the task waits for a time that can be brought forward."""
    if page.task.status == TaskStatus.WAITING:
        return any(reason.code in (Code.SLEEP, Code.PARALLEL_STEPS) for reason in page.reasons)
    return page.task.status in ON_A_TIMER


def about_run_now(page: TaskPage) -> str:
    status = TaskStatus(page.task.status)
    if page.task.has_ended:
        return f"The task is {status}: it has ended."
    if not is_delayed(page):
        return {
            TaskStatus.WAITING: "The task does not wait for a time.",
            TaskStatus.RUNNING: "The task is running.",
        }.get(status, f"The task is {status}: it is due already.")
    verb = {TaskStatus.SCHEDULED: "Starts the task", TaskStatus.RETRYING: "Starts the next attempt"}
    return f"{verb.get(status, 'Continues the task')} now instead of at its due time. Limits and rates still apply."


def about_cancel(task: Task) -> str:
    if task.has_ended:
        return f"The task is {task.status}: it has ended."
    if task.status == TaskStatus.RUNNING:
        return "Ends the task. The output of the running step is not recorded."
    return "Ends the task. You can retry it later."


def why_no_retry_from(task: Task) -> str:
    """Why a retry from a step is not possible; empty when it is."""
    return "" if task.has_ended else f"The task is {task.status}: it has not ended."
