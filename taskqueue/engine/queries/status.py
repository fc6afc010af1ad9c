"""The status of a task, which callers poll."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from taskqueue.engine.queries import task_state
from taskqueue.engine.queries.tasks import next_run_of
from taskqueue.engine.queries.why import waiting_for
from taskqueue.models import Step, Task
from taskqueue.states import ENDED, StepKind, StepStatus, TaskStatus


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The status of a task now, as `GET /api/tasks/{id}/status` returns it."""

    id: UUID
    pipeline: str
    status: str
    current_step: str | None
    steps_done: int
    steps_known: int
    progress: float | None
    progress_note: str
    attempt: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    next_run_at: datetime | None
    waiting_for: str | None
    error: dict[str, Any] | None


def status_of(task_id: UUID) -> Snapshot:
    """The status of a task: one query, one more if it is queued or has pending steps, and one more for an event.

    Raises:
        TaskNotFound
    """
    state = task_state.read(task_id)
    task = state.task
    has_pending = state.pending and task.status not in ENDED
    pending = task_state.pending_steps(task_id, with_parallel=False) if has_pending else []
    step, attempt = current_step_of(task, pending)
    return Snapshot(
        id=task.pk,
        pipeline=task.pipeline_id,
        status=task.status,
        current_step=step or None,
        steps_done=state.steps_done,
        steps_known=state.steps_known,
        progress=task.progress,
        progress_note=task.progress_note,
        attempt=attempt,
        created_at=task.created_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
        next_run_at=next_run_of(task),
        waiting_for=waiting_for(state, pending),
        error=task.error,
    )


def current_step_of(task: Task, pending: Sequence[Step]) -> tuple[str, int]:
    """The key of the step that runs or is retried (empty for the body), and the number of its attempt."""
    if task.status in ENDED:
        return "", task.failures + 1
    # A worker calls a step that failed before, or whose rate gave it a later time.
    is_due_for_call = (step for step in pending if step.status == StepStatus.RETRYING or step.kind == StepKind.STEP)
    failing = next(is_due_for_call, None)
    running = task.worker.step_of(task.pk) if task.status == TaskStatus.RUNNING and task.worker is not None else None
    if running is not None:
        step = running.key
        return step, failing.failures + 1 if failing is not None and failing.key == step else 1
    return (failing.key, failing.failures + 1) if failing is not None else ("", task.failures + 1)
