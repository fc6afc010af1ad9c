"""Recovery: what a dead worker held is queued again, and the lost try is written down."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db import transaction

from taskqueue.engine import sql
from taskqueue.engine.runtime.stacks import left_stack_of

POISON: Final = 5
"""Processes that died in one step before the task fails."""

GONE: Final = "its process ended or fell silent"
"""What anybody can tell of a worker that is not there any more."""

SIGNALS: Final = {
    "Segmentation fault": "SIGSEGV",
    "Floating point exception": "SIGFPE",
    "Floating-point exception": "SIGFPE",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Illegal instruction": "SIGILL",
}
"""What faulthandler calls them."""

FATAL: Final = "Fatal Python error: "


LONGEST_PAUSE: Final = timedelta(minutes=5)
"""The most that a task waits whose last executions the database has failed; it doubles from two seconds."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What is known of how a worker was lost, beside that it was.

    Attributes:
        task: the one task that it executed; others that it had claimed are none of its attempts. None: no task.
        step: the step that it was in; empty between steps.
        error_type: the name of what failed, when it was not the process that died.
        message: in place of the sentence on the dead process.
        traceback: where it failed; of a dead process the stack that it has left.
        backs_off: whether the task waits for longer each time.
    """

    task: UUID | None
    step: str = ""
    error_type: str = ""
    message: str = ""
    traceback: str = ""
    backs_off: bool = False


def recover(worker: int, *, reason: str, loss: Loss | None = None) -> int:
    """End a worker and give back what it held; the number of its tasks.

    Only a process that died counts towards poison, and only for the task that it executed: by its own last note, else
    by its heart's, else the first of those that it had claimed. Called for the same worker twice, the second call does
    nothing. A worker that was only silent finds its row ended, its writes refused by the fence, and goes on as a new
    one.
    """
    stack = loss.traceback if loss else left_stack_of(worker)
    reason = reason_in(stack) or reason
    values = {
        "worker": worker,
        "reason": reason,
        "poison": POISON,
        "longest": LONGEST_PAUSE,
        "known": loss is not None,
        "task": loss.task if loss else None,
        "step": loss.step if loss else None,
        "died": loss is None or not loss.error_type,
        "error_type": loss.error_type if loss else "",
        "message": loss.message if loss else "",
        "stack": stack,
        "backs_off": loss is not None and loss.backs_off,
    }
    return len(sql.fetch(sql.RECOVER, values))


def explain(worker: int, loss: Loss, *, reason: str) -> None:
    """Say how a worker died whom somebody else has recovered first, who could only see that it was gone."""
    values = {"worker": worker, "reason": reason, "task": loss.task, "step": loss.step, "stack": loss.traceback}
    with transaction.atomic():
        sql.fetch(sql.BOUND_LOCKS, {"patience": "5s"})
        # Two statements: the second one sees what the other, who may be at it just now, has written.
        sql.fetch(sql.WAIT_FOR_RECOVERY, {"worker": worker})
        sql.fetch(sql.EXPLAIN_LOSS, values)


def reason_in(stack: str) -> str:
    """What a stack that faulthandler wrote says of the end of its process."""
    first = stack.partition("\n")[0]
    if first.startswith("Timeout ("):
        return "it was ended in a step that did not heed its timeout"
    if first.startswith(FATAL):
        kind = first.removeprefix(FATAL)
        return f"its process was killed by {SIGNALS[kind]}" if kind in SIGNALS else f"its process crashed: {kind}"
    return ""
