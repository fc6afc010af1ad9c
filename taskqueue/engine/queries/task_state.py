"""A task's state, by prepared statements: callers poll it, and the ORM would compile its query for each request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from taskqueue.engine import sql
from taskqueue.errors import TaskNotFound
from taskqueue.models import ConcurrencyLimit, Pipeline, RateLimit, Step, Task, Wait, Worker


@dataclass(frozen=True)
class TaskState:
    """A task, and what its status and the reasons for it are derived from.

    Attributes:
        task: with its pipeline, the pipeline's concurrency limit and rate, and its worker. Other columns than these
            need are deferred, such as the payload.
        now: the database's time.
        steps_done: the number of its finished steps.
        steps_known: the number of steps in its pipeline's code.
        pending: the number of its pending steps without waiting parallel steps.
        parallel: the number of its waiting parallel steps.
    """

    task: Task
    now: datetime
    steps_done: int
    steps_known: int
    pending: int
    parallel: int


def read(task_id: UUID) -> TaskState:
    """The state of a task; one query.

    Raises:
        TaskNotFound
    """
    rows = sql.fetch(sql.TASK_STATE, {"task": task_id})
    if not rows:
        raise TaskNotFound(task_id)
    now, done, known, pending, parallel, *columns = rows[0]
    values = iter(columns)
    task = sql.instance(Task, sql.TASK_COLUMNS, values)
    pipeline = sql.instance(Pipeline, sql.PIPELINE_COLUMNS, values)
    worker = sql.instance(Worker, sql.WORKER_COLUMNS, values)
    limit = sql.instance(ConcurrencyLimit, sql.LIMIT_COLUMNS, values)
    rate = sql.instance(RateLimit, sql.RATE_COLUMNS, values)
    task.pipeline, task.worker = pipeline, worker
    Pipeline._meta.get_field("concurrency_limit").set_cached_value(pipeline, limit)
    if limit is not None:
        limit.rate = rate
    return TaskState(task, now, done, known, pending, parallel)


def pending_steps(task_id: UUID, *, with_parallel: bool) -> list[Step]:
    """A task's waiting and retrying steps in the order of recording, each with its child; one query.

    Args:
        task_id: the task.
        with_parallel: also its waiting parallel steps, of which there may be thousands.
    """
    found = []
    for row in sql.fetch(sql.PENDING_STEPS, {"task": task_id, "with_parallel": with_parallel}):
        values = iter(row)
        step = sql.instance(Step, sql.STEP_COLUMNS, values)
        step.child = sql.instance(Task, sql.CHILD_COLUMNS, values)
        found.append(step)
    return found


def event_waits(task_id: UUID) -> list[Wait]:
    """A task's open waits for events, without those that would cancel it; one query."""
    rows = sql.fetch(sql.EVENT_WAITS, {"task": task_id})
    return [sql.instance(Wait, sql.WAIT_COLUMNS, iter(row)) for row in rows]
