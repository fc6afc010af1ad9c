"""Values of a task that both lists and pages show."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats
from taskqueue.admin.shared.time_spent import TimeSpent, time_spent_of
from taskqueue.models import Task
from taskqueue.states import TaskStatus

PHASE_NAMES: Final = {
    "queued": "in queue",
    "blocked": "blocked by limits",
    "waiting": "waiting",
    "backoff": "between attempts",
    "executing": "executing",
}


def duration(task: Task, now: datetime) -> str:
    """From the task's due time to its end, or to now; waits included."""
    elapsed = time_spent_of(task, now).elapsed
    return formats.duration(elapsed) if elapsed else formats.EMPTY_VALUE


def queue_time(task: Task, now: datetime) -> str:
    """How long the task was ready and had no worker. The time before its due time does not count."""
    queued = time_spent_of(task, now).queued
    return formats.duration(queued) if queued or task.started_at is not None else formats.EMPTY_VALUE


def time_breakdown(spent: TimeSpent) -> str:
    """A task's duration by phase. Phases of zero length are left out, except executing."""
    lengths = ((name, getattr(spent, phase)) for phase, name in PHASE_NAMES.items())
    return ", ".join(f"{name} {formats.duration(length)}" for name, length in lengths if length or name == "executing")


def error_line(error: dict[str, Any] | None) -> SafeString | str:
    """An error's type and message on one line; empty without an error."""
    if not error:
        return ""
    name, message = error.get("type", ""), formats.first_line(error.get("message", ""))
    return format_html('<span class="tq-error" title="{} {}"><b>{}</b> {}</span>', name, message, name, message)


def step_progress(task: Task, done: int, known: int) -> str:
    """Steps done of the known ones, such as `3/5`; of a succeeded task only the steps done.

    Code may contain steps that a succeeded task did not call, and a task may call more steps than are known.
    """
    if task.status == TaskStatus.SUCCEEDED:
        return f"{done}"
    return f"{done}/{step_count(done, known, current=current_state(task))}"


def current_state(task: Task) -> str:
    """The status of the task's current step in the progress bar; empty when it has none."""
    if task.status in {TaskStatus.RUNNING, TaskStatus.RETRYING, TaskStatus.FAILED, TaskStatus.WAITING}:
        return task.status
    return ""


def step_count(done: int, known: int, *, current: str) -> int:
    """The known steps, or the steps done and the current one if those are more."""
    return max(known, done + bool(current))
