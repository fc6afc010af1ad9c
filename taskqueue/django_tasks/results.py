"""A task's row, its step and its attempts as a `TaskResult`."""

from __future__ import annotations

import builtins
import re
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pydantic import ValidationError

from taskqueue.definitions import registry
from taskqueue.django_tasks.framework import (
    AnyResult,
    AnyTask,
    TaskError,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
)
from taskqueue.django_tasks.outcomes import TaskCancelled, WorkerLost
from taskqueue.django_tasks.payload import TaskCall, task_of
from taskqueue.models import Attempt
from taskqueue.models import Task as TaskRow
from taskqueue.states import AttemptOutcome, StepKind, TaskStatus

STATUSES: Final = {
    TaskStatus.RUNNING: TaskResultStatus.RUNNING,
    TaskStatus.SUCCEEDED: TaskResultStatus.SUCCESSFUL,
    TaskStatus.FAILED: TaskResultStatus.FAILED,
    TaskStatus.CANCELLED: TaskResultStatus.FAILED,
}
"""Every other one is READY: the task waits for a worker, for its time or for its next attempt."""

CLASSES: Final = {AttemptOutcome.LOST: WorkerLost, AttemptOutcome.STOPPED: TaskCancelled}
"""The exception classes of attempts that no exception has ended."""


def read_result(result_id: str) -> AnyResult:
    """Read a result: by one query before the task has started, else by three.

    Raises:
        TaskResultDoesNotExist: no task of a `@task` function has this id, or its function is gone.
    """
    try:
        row = TaskRow.objects.filter(pk=UUID(result_id)).first()
    except (ValueError, AttributeError, TypeError):
        row = None
    definition = None if row is None else registry.by_name().get(row.pipeline_id)
    if row is None or definition is None or not issubclass(definition.payload.model, TaskCall):
        raise TaskResultDoesNotExist(result_id)
    try:
        call = definition.payload.model.model_validate(row.payload)
    except ValidationError as error:
        raise TaskResultDoesNotExist(f"{result_id}: its payload is that of an older version.") from error
    if (task := task_of(definition, call)) is None:
        raise TaskResultDoesNotExist(f"{result_id}: its function is gone.")
    result = result_of_new(row, call.applied_to(task, row.priority), call.args, call.kwargs)
    if row.started_at is not None or row.has_ended:
        add_execution(result, row)
    return result


def result_of_new(row: TaskRow, task: AnyTask, args: Any, kwargs: Any) -> AnyResult:
    """The result of a task that no worker has started."""
    status = STATUSES.get(TaskStatus(row.status), TaskResultStatus.READY)
    times = {"enqueued_at": row.created_at, "started_at": row.started_at, "finished_at": row.finished_at}
    return bare_result(str(row.pk), task, args, kwargs, status, **times)


def bare_result(
    result_id: str, task: AnyTask, args: Any, kwargs: Any, status: TaskResultStatus, **times: datetime | None
) -> AnyResult:
    """A result without attempts."""
    unknown = dict.fromkeys(("enqueued_at", "started_at", "finished_at", "last_attempted_at"))
    return TaskResult(
        task=task,
        id=result_id,
        status=status,
        **{**unknown, **times},
        args=args,
        kwargs=kwargs,
        backend=task.backend,
        errors=[],
        worker_ids=[],
    )


def add_execution(result: AnyResult, row: TaskRow) -> None:
    """Add what the task's attempts have left: failed ones have rows, and the last one may run or have succeeded."""
    attempts = list(row.attempts.order_by("pk").defer("logs"))
    workers = [attempt.worker_id for attempt in attempts]
    if row.status in (TaskStatus.RUNNING, TaskStatus.SUCCEEDED):
        workers.append(row.worker_id)
    result.worker_ids.extend(str(worker) for worker in workers)
    result.errors.extend(map(error_of, attempts))
    if row.status == TaskStatus.CANCELLED:
        result.errors.append(TaskError(exception_class_path=path_of(TaskCancelled), traceback=row.cancel_reason))
    elif row.status == TaskStatus.FAILED and not attempts and row.error is not None:
        path = error_path(row.error.get("type", ""), "")
        result.errors.append(TaskError(exception_class_path=path, traceback=row.error.get("message", "")))
    object.__setattr__(result, "last_attempted_at", last_attempt_of(row))
    object.__setattr__(result, "_return_value", row.result)


def last_attempt_of(row: TaskRow) -> datetime | None:
    """When the last attempt began: the row knows of a running one, its step of one that has ended."""
    if row.status == TaskStatus.RUNNING:
        return row.since or row.started_at
    began = row.steps.filter(kind=StepKind.STEP).order_by("-started_at").values_list("started_at", flat=True).first()
    return began or row.started_at


def error_of(attempt: Attempt) -> TaskError:
    ended = CLASSES.get(AttemptOutcome(attempt.outcome))
    path = path_of(ended) if ended else error_path(attempt.error_type, attempt.traceback)
    return TaskError(exception_class_path=path, traceback=attempt.traceback or attempt.error_message)


def path_of(kind: type[BaseException]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def error_path(name: str, traceback: str) -> str:
    """The import path of an exception class: its row has the name, and its traceback the module too."""
    found = re.findall(rf"^[ |]*((?:\w+\.)+{re.escape(name)})(?::|$)", traceback, flags=re.MULTILINE)
    if found:
        return str(found[-1])
    return f"builtins.{name}" if hasattr(builtins, name) else name
