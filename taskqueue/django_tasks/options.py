"""The options of a `@task` function: those of its backend (`OPTIONS` in `TASKS`), and over them its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import isfunction
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, Unpack

from taskqueue.errors import DefinitionError
from taskqueue.policies import Rate, Retry

if TYPE_CHECKING:
    from taskqueue.authoring.options import PipelineOptions
    from taskqueue.durations import Duration

    class TaskOptions(PipelineOptions, total=False):
        """The options of a `@task` function: those of `@pipeline`, except `queue` and `batch`, and of `@step`."""

        retry: Retry
        timeout: Duration | None
        rate: Rate | str | None
        atomic: bool


F = TypeVar("F", bound=Callable[..., Any])

ATTRIBUTE: Final = "taskqueue_options"
STEP_OPTIONS: Final = ("retry", "timeout", "rate", "atomic")
REFUSED: Final = {
    "queue": "Use queue_name of @task.",
    "batch": "Its function gets the arguments of one call.",
}


class OptionsOfTask(NamedTuple):
    step: dict[str, Any]
    """Of its one step."""
    pipeline: dict[str, Any]
    """Of its pipeline."""


def task_options(**options: Unpack[TaskOptions]) -> Callable[[F], F]:
    """Set options of one `@task` function. Put it below `@task`; other backends ignore it.

    Raises:
        DefinitionError: it is above `@task`, or an option is unknown; a wrong value is refused at start.
    """
    check_names("task_options()", options)

    def decorate(function: F) -> F:
        if not isfunction(function):
            raise DefinitionError("task_options() is not on a function.", hint="Put it below @task, on the def.")
        setattr(function, ATTRIBUTE, options)
        return function

    return decorate


def options_of(function: Callable[..., Any], of_backend: Mapping[str, Any]) -> OptionsOfTask:
    """The options of a function under a backend with these `OPTIONS`.

    Raises:
        DefinitionError: an option is unknown.
    """
    check_names("OPTIONS in TASKS", of_backend)
    options = {**of_backend, **getattr(function, ATTRIBUTE, {})}
    step = {name: options.pop(name) for name in STEP_OPTIONS if name in options}
    return OptionsOfTask(step, options)


def check_names(what: str, options: Mapping[str, Any]) -> None:
    from taskqueue.authoring.options import PipelineOptions

    known = [*STEP_OPTIONS, *(name for name in PipelineOptions.__annotations__ if name not in REFUSED)]
    for option in options:
        if option not in known:
            hint = REFUSED.get(option) or f"There are: {', '.join(known)}."
            raise DefinitionError(f"{what} has an option {option!r}.", hint=hint)
