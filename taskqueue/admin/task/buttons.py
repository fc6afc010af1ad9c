"""The buttons of a task's page. A button that does not apply is disabled and says why, so that the layout is stable."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats, html
from taskqueue.admin.shared.links import page_url, view_url
from taskqueue.admin.task.page import TaskPage
from taskqueue.engine.queries.reasons import Code
from taskqueue.engine.tasks.control import RETRYABLE
from taskqueue.models import Task
from taskqueue.states import ON_A_TIMER, TaskStatus

ABOUT_EDIT = "Creates a new task from a payload that you edit. The pipeline's schema validates it first."
ABOUT_RERUN = "Creates a new task with this payload, priority and labels. No step output is kept."


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
    address: str
    icon: SafeString
    is_enabled: bool = True
    dialog: str = ""
    is_link: bool = False


def action_buttons(page: TaskPage, allowed: Collection[str]) -> list[Button]:
    task = page.task
    can_retry = task.status in RETRYABLE
    repeats_more = can_retry and page.recorded - page.steps_kept > 1
    buttons = [
        button(task, "retry", "again", about_retry(page), is_enabled=can_retry, is_link=repeats_more),
        button(task, "run_now", "bolt", about_run_now(page), is_enabled=is_delayed(page)),
        button(task, "cancel", "stop", about_cancel(task), is_enabled=not task.has_ended, dialog="cancel-dialog"),
        button(task, "rerun", "copy", ABOUT_RERUN, is_link=True),
    ]
    shown = [each for each in buttons if each.action in allowed]
    if "rerun" in allowed and page.shows_payload:
        shown.append(button(task, "edit", "pencil", ABOUT_EDIT, label="Edit and rerun", is_link=True))
    return shown


def button(task: Task, action: str, icon: str, title: str, **more: Any) -> Button:
    label = more.pop("label", action.replace("_", " ").capitalize())
    address = view_url("task", action, task.pk)
    return Button(action=action, label=label, title=title, address=address, icon=html.icon(icon), **more)


def neighbour_buttons(page: TaskPage) -> list[Button]:
    return [neighbour(page.newer, "newer", "left"), neighbour(page.older, "older", "right")]


def neighbour(task_id: UUID | None, word: str, icon: str) -> Button:
    return Button(
        action=word,
        label=f"{word.capitalize()} task",
        title=f"The next {word} task" if task_id else f"There is no {word} task.",
        address=page_url("task", task_id) if task_id else "",
        icon=html.icon(icon),
        is_enabled=task_id is not None,
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
