"""The buttons of a task's page. One that does not apply stays, disabled, and says why, so that nothing jumps."""

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


@dataclass(frozen=True, kw_only=True)
class Rights:
    """What a user may do to tasks."""

    retry: bool = False
    run_now: bool = False
    cancel: bool = False
    rerun: bool = False


@dataclass(frozen=True, kw_only=True)
class Button:
    """One button.

    Attributes:
        noun: the end of its address.
        label: what it says.
        title: its consequence, or why it is disabled.
        asks: the id of the form that it opens, if it does not act at once.
        is_link: it leads to a page of its own.
    """

    noun: str
    label: str
    title: str
    is_enabled: bool
    address: str
    icon: SafeString
    asks: str = ""
    is_link: bool = False


def buttons_of(page: TaskPage, rights: Rights) -> list[Button]:
    """The buttons that a user may see."""
    task = page.task
    buttons = []
    if rights.retry:
        retry = button(task, "retry", "again", about_retry(page), is_enabled=task.status in RETRYABLE)
        buttons.append(replace(retry, is_link=retry.is_enabled and page.recorded - page.steps_kept > 1))
    if rights.run_now:
        now = button(task, "run_now", "bolt", about_run_now(page), is_enabled=is_delayed(page))
        buttons.append(replace(now, label="Run now"))
    if rights.cancel:
        cancel = button(task, "cancel", "stop", about_cancel(task), is_enabled=not task.has_ended)
        buttons.append(replace(cancel, asks="ask-cancel"))
    if rights.rerun:
        buttons.append(replace(button(task, "rerun", "copy", ABOUT_RERUN, is_enabled=True), is_link=True))
        if page.shows_payload:
            edit = button(task, "edit", "pencil", ABOUT_EDIT, is_enabled=True)
            buttons.append(replace(edit, label="Edit and rerun", is_link=True))
    return buttons


def neighbours_of(page: TaskPage) -> list[Button]:
    """The ways to the tasks made after and before this one."""
    return [neighbour(page.newer, "newer", "left"), neighbour(page.older, "older", "right")]


def neighbour(task_id: UUID | None, word: str, icon: str) -> Button:
    """One of them."""
    return Button(
        noun=word,
        label=f"{word.capitalize()} task",
        title=f"The next {word} task" if task_id else f"There is no {word} task.",
        is_enabled=task_id is not None,
        address=reverse("admin:taskqueue_task_change", args=[task_id]) if task_id else "",
        icon=html.icon(icon),
        is_link=True,
    )


def button(task: Task, noun: str, icon: str, title: str, *, is_enabled: bool) -> Button:
    """One of them."""
    return Button(
        noun=noun,
        label=noun.capitalize(),
        title=title,
        is_enabled=is_enabled,
        address=reverse(f"admin:taskqueue_task_{noun}", args=[task.pk]),
        icon=html.icon(icon),
    )


def about_retry(page: TaskPage) -> str:
    """What a retry does, or why there is none."""
    status = page.task.status
    if status in RETRYABLE:
        return (
            f"Queues the task again and keeps the results of its {formats.count_of(page.steps_kept, 'finished step')}."
        )
    if status == TaskStatus.SUCCEEDED:
        return "The task has succeeded. Retry it from one of its steps, or rerun it."
    return f"The task is {status}: it has not ended."


def is_delayed(page: TaskPage) -> bool:
    """Whether the task waits for a time that can be brought forward."""
    if page.task.status == TaskStatus.WAITING:
        return any(reason.code in (Code.SLEEP, Code.PARALLEL_STEPS) for reason in page.reasons)
    return page.task.status in ON_A_TIMER


def about_run_now(page: TaskPage) -> str:
    """What running it now does, or why it cannot be done."""
    status = TaskStatus(page.task.status)
    if page.task.has_ended:
        return f"The task is {status}: it has ended."
    if not is_delayed(page):
        return {
            TaskStatus.WAITING: "The task waits for something else than a time.",
            TaskStatus.RUNNING: "The task is running.",
        }.get(status, f"The task is {status}: it is due already.")
    what = {TaskStatus.SCHEDULED: "Starts the task", TaskStatus.RETRYING: "Makes the next attempt"}
    return f"{what.get(status, 'Goes on')} now instead of at its time. Limits and rates hold as ever."


def about_cancel(task: Task) -> str:
    """What cancelling does, or why it cannot be done."""
    if task.has_ended:
        return f"The task is {task.status}: it has ended."
    if task.status == TaskStatus.RUNNING:
        return "Ends the task; what the step in progress returns is not recorded."
    return "Ends the task; it can be retried later."


def why_no_retry_from(task: Task) -> str:
    """Why there is no retry from a step; empty when there is."""
    return "" if task.has_ended else f"The task is {task.status}: it has not ended."


ABOUT_EDIT = "Makes a new task from a payload that you change; it is checked by the pipeline's model first."
ABOUT_RERUN = "Makes a new task from the same payload, priority and labels; nothing is kept from this one."
