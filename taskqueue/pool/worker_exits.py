"""Deaths: how a worker process ended, which its parent alone can tell, is told of the task that it executed."""

from __future__ import annotations

import signal
from typing import Final

from taskqueue.engine.maintenance.recovery import Loss, explain, recover
from taskqueue.engine.runtime.stacks import left_stack_of
from taskqueue.engine.worker.hard_timeouts import EXIT_CODE
from taskqueue.pool.shared_memory import Note

STOPPED: Final = "it was told to stop, did not end within the grace, and was killed"


def report(note: Note, exit_code: int, *, stopped: bool = False) -> None:
    """Give back what a dead worker held, and say how it died.

    Args:
        note: the last that it said of itself.
        exit_code: of its process; below zero the signal that killed it.
        stopped: it was killed because its pool stops, which is no fault of the task's.

    Raises:
        django.db.Error: the database is away. Others find the worker dead.
    """
    reason = STOPPED if stopped else how_it_ended(exit_code)
    loss = Loss(
        task=note.task,
        step=note.step,
        error_type="WorkerStopped" if stopped else "",
        message=f"Worker {note.worker} was lost: {reason}." if stopped else "",
        # Read once: it is not there any more afterwards.
        traceback=left_stack_of(note.worker),
    )
    if not recover(note.worker, reason=reason, loss=loss) and note.task is not None and not stopped:
        # Somebody else may have seen first that it was gone.
        explain(note.worker, loss, reason=reason)


def how_it_ended(exit_code: int) -> str:
    """An exit code in words."""
    if exit_code == EXIT_CODE:
        return "it was ended in a step that heeded neither its timeout nor that its task was cancelled"
    if exit_code >= 0:
        return f"its process ended with exit code {exit_code}"
    if exit_code == -signal.SIGKILL:
        return "its process was killed by SIGKILL, perhaps because memory ran out"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return f"its process was killed by {name}"
