"""Call a `@task` function in a worker: its context, Django's signals, and a result that is JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from traceback import format_exception
from typing import Any

from asgiref.sync import sync_to_async
from django.dispatch import Signal

from taskqueue.authoring import Retry, current_task
from taskqueue.django_tasks.framework import (
    AnyResult,
    AnyTask,
    TaskContext,
    TaskError,
    TaskResultStatus,
    normalize_json,
    task_finished,
    task_started,
)
from taskqueue.django_tasks.results import bare_result, read_result
from taskqueue.engine.author_code.step_output import check_size
from taskqueue.engine.runtime.failures import is_author_error, retry_wait
from taskqueue.errors import FieldError, NotSerializable
from taskqueue.json_values import codec


def calling(task: AnyTask, retry: Retry) -> Callable[..., Any]:
    """A function that calls a task's function with the arguments of a row, between the signals."""
    function = task.call if iscoroutinefunction(task.func) else task.func

    def call(args: list[Any], kwargs: dict[str, Any]) -> Any:
        result = read_current() if is_read(task) else light_result(task, args, kwargs)
        send(task_started, task, result)
        try:
            value = to_json(task, function(*with_context(task, result, args), **kwargs))
        except BaseException as error:
            if is_final(error, retry):
                send(task_finished, task, failed(result, error))
            raise
        send(task_finished, task, ended(result, TaskResultStatus.SUCCESSFUL, value))
        return value

    return call


def calling_async(task: AnyTask, retry: Retry) -> Callable[..., Awaitable[Any]]:
    """As `calling`, for an async function."""

    async def call(args: list[Any], kwargs: dict[str, Any]) -> Any:
        result = await sync_to_async(read_current)() if is_read(task) else light_result(task, args, kwargs)
        await asend(task_started, task, result)
        try:
            value = to_json(task, await task.func(*with_context(task, result, args), **kwargs))
        except BaseException as error:
            if is_final(error, retry):
                await asend(task_finished, task, failed(result, error))
            raise
        await asend(task_finished, task, ended(result, TaskResultStatus.SUCCESSFUL, value))
        return value

    return call


def is_read(task: AnyTask) -> bool:
    """Whether the row has to be read: for the function, or for receivers of the project's own.

    Django's one receiver of each signal only logs the id, path and status.
    """
    return task.takes_context or len(task_started.receivers) > 1 or len(task_finished.receivers) > 1


def read_current() -> AnyResult:
    return read_result(str(current_task().id))


def light_result(task: AnyTask, args: list[Any], kwargs: dict[str, Any]) -> AnyResult:
    """The result of the running task, without what only its row knows."""
    return bare_result(str(current_task().id), task, args, kwargs, TaskResultStatus.RUNNING)


def with_context(task: AnyTask, result: AnyResult, args: list[Any]) -> list[Any]:
    return [TaskContext(task_result=result), *args] if task.takes_context else args


def to_json(task: AnyTask, value: Any) -> Any:
    """What a function has returned, as Django stores it. What the engine would refuse is refused before the signal.

    Raises:
        NotSerializable, TooLarge: it cannot be stored. No attempt follows, since the function has done its work.
    """
    try:
        normal = normalize_json(value)
    except (TypeError, ValueError) as error:
        detail = f"The return value cannot be stored as JSON: {error}"
        raise NotSerializable(detail, [FieldError("", detail)]) from error
    check_size(codec.write(normal, what="return value"), task.name, used=0)
    return normal


def is_final(error: BaseException, retry: Retry) -> bool:
    """Whether the task fails with this error: the engine will make the same decision."""
    return is_author_error(error) and retry_wait(error, retry, failures=current_task().attempt) is None


def ended(result: AnyResult, status: TaskResultStatus, value: Any = None) -> AnyResult:
    """The running task's result as it will be recorded. Its row has no time of the end yet."""
    object.__setattr__(result, "status", status)
    object.__setattr__(result, "_return_value", value)
    return result


def failed(result: AnyResult, error: BaseException) -> AnyResult:
    path = f"{type(error).__module__}.{type(error).__qualname__}"
    result.errors.append(TaskError(exception_class_path=path, traceback="".join(format_exception(error))))
    return ended(result, TaskResultStatus.FAILED)


def send(signal: Signal, task: AnyTask, result: AnyResult) -> None:
    """Send a signal. A receiver that raises is logged, and does not fail the task."""
    signal.send_robust(type(task.get_backend()), task_result=result)


async def asend(signal: Signal, task: AnyTask, result: AnyResult) -> None:
    if is_read(task):
        await signal.asend_robust(type(task.get_backend()), task_result=result)
    else:  # Django's own receiver, which needs no thread
        send(signal, task, result)
