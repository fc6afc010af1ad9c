"""Fakes: a test replaces a step's function, in tasks and in direct calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ContextDecorator
from itertools import chain, repeat
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeVar, overload
from unittest.mock import Mock

from pydantic import ValidationError

from taskqueue.definitions import StepDefinition, active_fakes
from taskqueue.errors import Permanent, TaskqueueError
from taskqueue.json_values import codec

if TYPE_CHECKING:
    from taskqueue.authoring import Step

P = ParamSpec("P")
R = TypeVar("R")
UNSET: Final[Any] = object()
Raised = BaseException | type[BaseException]


class Fake(ContextDecorator):
    """The replacement of a step's function, within a `with` block or a decorated function.

    Attributes:
        calls: the arguments of each call by parameter name, with defaults.
    """

    def __init__(self, step: StepDefinition, answer: Callable[..., Any]) -> None:
        self.step = step
        self.calls: list[dict[str, Any]] = []
        self._answer = answer
        self._replaced: list[Callable[..., Any] | None] = []

    def __enter__(self) -> Self:
        self._replaced.append(active_fakes.get(self.step))
        active_fakes[self.step] = self._acall if self.step.is_async else self._call
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        replaced = self._replaced.pop()
        if replaced is None:
            active_fakes.pop(self.step, None)
        else:
            active_fakes[self.step] = replaced

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        bound = self.step.arguments.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        self.calls.append(dict(bound.arguments))
        return self._answer(*args, **kwargs)

    async def _acall(self, *args: Any, **kwargs: Any) -> Any:
        answer = self._call(*args, **kwargs)
        return await answer if inspect.isawaitable(answer) else answer


@overload
def fake(
    step: Step[P, Coroutine[Any, Any, R]],
    *,
    returns: R = ...,
    returns_each: Sequence[Any] = ...,
    raises: Raised = ...,
    calls: Callable[P, R | Coroutine[Any, Any, R]] = ...,
) -> Fake: ...


@overload
def fake(
    step: Step[P, R],
    *,
    returns: R = ...,
    returns_each: Sequence[Any] = ...,
    raises: Raised = ...,
    calls: Callable[P, R] = ...,
) -> Fake: ...


def fake(
    step: Step[..., Any],
    *,
    returns: Any = UNSET,
    returns_each: Any = UNSET,
    raises: Any = UNSET,
    calls: Any = UNSET,
) -> Fake:
    """Replace a step's function: `with fake(charge, returns=Receipt(total=3)) as charged:`.

    The rest of the step stays: its retries, its timeout, the checks of its arguments and its result.

    Args:
        step: the step.
        returns: what each call returns.
        returns_each: what the calls return, one after the other; an exception in it is raised.
        raises: what each call raises.
        calls: what is called instead, with the same arguments.

    Raises:
        TypeError: not exactly one of the four is given, or a value does not match the step's return annotation.
    """
    ways = {"returns": returns, "returns_each": returns_each, "raises": raises, "calls": calls}
    given = [name for name, value in ways.items() if value is not UNSET]
    definition: StepDefinition = step.definition
    if len(given) != 1:
        found = " and ".join(given) or "nothing"
        raise TypeError(
            f"The fake of step {definition.name!r} needs one of returns, returns_each, raises or calls; it has {found}."
        )
    if returns is not UNSET:
        calls = Mock(return_value=checked(definition, returns))
    elif raises is not UNSET:
        calls = Mock(side_effect=checked_error(definition, raises))
    elif returns_each is not UNSET:
        values = [value if is_raised(value) else checked(definition, value) for value in returns_each]
        text = f"The fake of step {definition.name!r} was called more than {len(values)} times, and has no more values."
        # Permanent, because a retry would hide that the test gave too few values.
        calls = Mock(side_effect=chain(values, repeat(Permanent(text))))
    return Fake(definition, calls)


def checked(step: StepDefinition, value: Any) -> Any:
    """Return a value that the step could return.

    Raises:
        TypeError: it could not.
    """
    try:
        step.result.read(step.result.write(value, what=f"output of step {step.name!r}"))
    except ValidationError as error:
        errors = "; ".join(f"{each.pointer} {each.detail}".strip() for each in codec.field_errors(error))
        raise TypeError(f"The fake of step {step.name!r} cannot return {value!r}: {errors}.") from error
    except TaskqueueError as error:
        raise TypeError(f"The fake of step {step.name!r} cannot return {value!r}: {error}") from error
    return value


def checked_error(step: StepDefinition, error: Any) -> Any:
    """Return an exception or an exception class.

    Raises:
        TypeError: it is neither.
    """
    if not is_raised(error):
        raise TypeError(f"The fake of step {step.name!r} cannot raise {error!r}: it is not an exception.")
    return error


def is_raised(value: Any) -> bool:
    return isinstance(value, BaseException) or (isinstance(value, type) and issubclass(value, BaseException))
