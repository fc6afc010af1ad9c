"""What lists and pages say of a task."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats
from taskqueue.engine.queries.time_spent import Spent, spent_of
from taskqueue.models import Task
from taskqueue.states import TaskStatus


def present_state(task: Task) -> str:
    """In which state its present piece of the bar is drawn; empty for none."""
    if task.status in {TaskStatus.RUNNING, TaskStatus.RETRYING, TaskStatus.FAILED}:
        return task.status
    return TaskStatus.WAITING.value if task.status == TaskStatus.WAITING else ""


def shown_error(error: dict[str, Any] | None) -> SafeString | str:
    """An error on a line of its own; nothing when there is none."""
    if not error:
        return ""
    name, said = error.get("type", ""), formats.first_line(error.get("message", ""))
    return format_html('<span class="tq-error" title="{} {}"><b>{}</b> {}</span>', name, said, name, said)


def steps_share(task: Task, done: int, known: int) -> str:
    """Steps done of those that the bar draws, such as `3/5`; a task may call more than are known.

    One that has succeeded has done all its steps, though its code may have others for other cases.
    """
    if task.status == TaskStatus.SUCCEEDED:
        return f"{done}"
    return f"{done}/{all_of(done, known, present=present_state(task))}"


PHASE_NAMES: Final = {
    "queued": "in queue",
    "blocked": "held back by limits",
    "waiting": "asleep or waiting",
    "backoff": "between attempts",
    "executing": "executing",
}


def waited(task: Task, now: datetime) -> str:
    """How long a task was ready and had no worker; one that is not due yet did not wait."""
    queued = spent_of(task, now).queued
    return formats.duration(queued) if queued or task.started_at is not None else formats.NOTHING


def took(task: Task, now: datetime) -> str:
    """How long a task took from when it was due to its end, waits included; so far, if it goes on."""
    elapsed = spent_of(task, now).elapsed
    return formats.duration(elapsed) if elapsed else formats.NOTHING


def phases(spent: Spent) -> str:
    """Where the time of a task went; what takes none is left out, but for executing."""
    lengths = ((name, getattr(spent, phase)) for phase, name in PHASE_NAMES.items())
    return ", ".join(f"{name} {formats.duration(length)}" for name, length in lengths if length or name == "executing")


def all_of(done: int, known: int, *, present: str) -> int:
    """How many steps there are: those that are known, or those that are done and the one that it is in, if more."""
    return max(known, done + bool(present))
