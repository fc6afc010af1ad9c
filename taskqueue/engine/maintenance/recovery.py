"""Recover a dead worker: queue its tasks again, and record the lost attempt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db import transaction

from taskqueue.engine import sql
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.stacks import read_crash_dump

POISON: Final = 5
"""Processes that die in one step before its task fails."""

POISON_IN_COMPANY: Final = 20
"""Processes that die in one step while they also execute other tasks, before its task fails.

Such a death may be the fault of another task, so several of them must not fail an innocent task.
"""

NO_HEARTBEAT: Final = "its process ended or sent no heartbeat"
"""The reason when only the missing heartbeat or lock shows that a worker is dead."""

SIGNALS: Final = {
    "Segmentation fault": "SIGSEGV",
    "Floating point exception": "SIGFPE",
    "Floating-point exception": "SIGFPE",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Illegal instruction": "SIGILL",
}
"""The signals by the names that faulthandler writes."""

FATAL: Final = "Fatal Python error: "

LONGEST_BACKOFF: Final = timedelta(minutes=5)
"""The maximum wait of a task that hits database errors again and again; the wait doubles from two seconds."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """How a worker was lost.

    Attributes:
        task: the task that it executed; None for none. Tasks that it had only claimed get no lost attempt.
        step: the step that it executed; empty between steps.
        error_type: the error's type when the process did not die, or died by another of its tasks.
        message: the error's message.
        traceback: the error's traceback, or the stack that a dead process has written.
        backs_off: whether the task waits longer each time.
        had_company: whether its process executed other tasks too, and each of them may be the cause.
    """

    task: UUID | None
    step: str = ""
    error_type: str = ""
    message: str = ""
    traceback: str = ""
    backs_off: bool = False
    had_company: bool = False


def recover(worker: int, *, reason: str, loss: Loss | None = None, only: Lease | None = None) -> int:
    """End a worker and queue its tasks; how many.

    Only the death of a process counts towards poison, and only for the task that the worker executed: by its crash
    record, else by its last heartbeat, else the first of its claimed tasks. A death counts little when other workers of
    the process executed tasks too, since any of them may be the cause. A second call for a worker finds only tasks that
    were locked at the first one. A worker that was only silent finds its row ended and its writes fenced off, and
    continues under a new row.

    Args:
        worker: its row's id.
        reason: why it was lost, for a person.
        loss: how, if that is known.
        only: a lease of a worker that lives on, which alone is lost.
    """
    stack = loss.traceback if loss else read_crash_dump(worker)
    reason = reason_in(stack) or reason
    values = {
        "worker": worker,
        "reason": reason,
        "only_task": only.task if only else None,
        "only_lease": only.number if only else None,
        "poison": POISON,
        "poison_in_company": POISON_IN_COMPANY,
        "had_company": loss.had_company if loss else None,
        "longest": LONGEST_BACKOFF,
        "is_explained": loss is not None,
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
    """Write how a worker died into the lost attempt, when another process that did not know it recovered it first."""
    values = {
        "worker": worker,
        "reason": reason,
        "task": loss.task,
        "step": loss.step,
        "error_type": loss.error_type,
        "message": loss.message,
        "stack": loss.traceback,
        "had_company": loss.had_company,
    }
    with transaction.atomic():
        sql.fetch(sql.SET_LOCAL_LOCK_TIMEOUT, {"lock_timeout": "5s"})
        # Two statements: the second one sees what a concurrent recovery has written.
        sql.fetch(sql.WAIT_FOR_RECOVERY, {"worker": worker})
        sql.fetch(sql.EXPLAIN_LOSS, values)


def reason_in(stack: str) -> str:
    """Why a process died, by the first line of the stack that faulthandler wrote; empty when it does not say."""
    first = stack.partition("\n")[0]
    if first.startswith("Timeout ("):
        return "it was ended in a step that ignored its timeout"
    if first.startswith(FATAL):
        kind = first.removeprefix(FATAL)
        return f"its process was killed by {SIGNALS[kind]}" if kind in SIGNALS else f"its process crashed: {kind}"
    return ""
