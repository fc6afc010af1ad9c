"""How a worker process ended. Only its parent knows, and reports it to the task that the worker executed."""

from __future__ import annotations

import signal
from typing import Final

from taskqueue.engine.maintenance.recovery import Loss, explain, recover
from taskqueue.engine.runtime.stacks import read_crash_dump
from taskqueue.engine.worker.hard_timeouts import EXIT_CODE
from taskqueue.pool.shared_memory import WorkerState

STOPPED: Final = "its command was stopped, and its step did not end within STOP_GRACE"


def report(state: WorkerState, exit_code: int, *, stopped: bool = False) -> None:
    """Recover the tasks of a dead worker, with the reason of its end.

    Args:
        state: the last state that it wrote.
        exit_code: of its process; below zero the number of the signal that killed it.
        stopped: whether it was killed because its pool stops, which is no failure of the task.

    Raises:
        django.db.Error: the database is unreachable. Another process then recovers the worker.
    """
    reason = STOPPED if stopped else describe_exit(exit_code)
    loss = Loss(
        task=state.task,
        step=state.step,
        error_type="WorkerStopped" if stopped else "",
        message=f"Worker {state.worker} was lost: {reason}." if stopped else "",
        # This removes the file: read it once.
        traceback=read_crash_dump(state.worker),
    )
    if not recover(state.worker, reason=reason, loss=loss) and state.task is not None and not stopped:
        # Another process may have recovered the worker before, without the reason.
        explain(state.worker, loss, reason=reason)


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
