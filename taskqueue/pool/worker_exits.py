"""How a worker process ended. Only its parent knows, and reports it to the tasks that the process executed."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Final

from taskqueue.engine.maintenance.recovery import Loss, explain, reason_in, recover
from taskqueue.engine.runtime.stacks import read_crash_dump
from taskqueue.engine.worker.hard_timeouts import EXIT_CODE
from taskqueue.pool.shared_memory import WorkerState

STOPPED: Final = "its command was stopped, and its step did not end within STOP_GRACE"


def report(states: Sequence[WorkerState], exit_code: int, *, stopped: bool = False) -> None:
    """Recover the tasks of a dead process, with the reason of its end.

    Args:
        states: what each of its workers wrote last.
        exit_code: of the process; below zero the number of the signal that killed it.
        stopped: whether it was killed because its pool stops, which is no failure of the tasks.

    Raises:
        django.db.Error: the database is unreachable. Another process then recovers its workers.
    """
    registered = [state for state in states if state.worker]
    executing = [state for state in registered if state.task is not None]
    if not registered or (exit_code == 0 and not executing):
        return
    stack = read_crash_dump(registered[0].worker, removes=True)  # read it once
    reason = STOPPED if stopped else reason_in(stack) or describe_exit(exit_code)
    culprit = next((each for each in registered if each.ended_process or is_crashed(each.thread, stack)), None)
    for state in registered:
        error_type, message = describe_loss(state, culprit, reason, stopped=stopped)
        loss = Loss(
            task=state.task,
            step=state.step,
            error_type=error_type,
            message=message,
            traceback=stack if culprit in (None, state) else "",
            had_company=state.has_company or (len(executing) > 1 and culprit is None),
        )
        if not recover(state.worker, reason=reason, loss=loss) and state.task is not None and not stopped:
            # Another process may have recovered the worker before, without the reason.
            explain(state.worker, loss, reason=reason)


def describe_loss(state: WorkerState, culprit: WorkerState | None, reason: str, *, stopped: bool) -> tuple[str, str]:
    """The error type and message of a loss that counts as no death of a process for this worker's task; else empty."""
    if stopped:
        return "WorkerStopped", f"Worker {state.worker} was lost: {reason}."
    if culprit in (None, state) or state.task is None:
        return "", ""
    return "WorkerLostByOther", f"Worker {state.worker} was lost: {reason}, in another of its process's tasks."


def is_crashed(thread: int, stack: str) -> bool:
    """Whether a thread is the one that crashed, by the stack that faulthandler has written."""
    return f"Current thread 0x{thread:016x} " in stack


def describe_exit(exit_code: int) -> str:
    if exit_code == EXIT_CODE:
        return "it was ended in a step that ignored its timeout or the cancellation of its task"
    if exit_code >= 0:
        return f"its process ended with exit code {exit_code}"
    if exit_code == -signal.SIGKILL:
        return "its process was killed by SIGKILL, perhaps because memory ran out"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return f"its process was killed by {name}"
