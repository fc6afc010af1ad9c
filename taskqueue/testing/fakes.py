"""Fakes: something else stands in for a step's function, for the engine and for direct calls alike."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ContextDecorator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeVar, overload

from pydantic import ValidationError

from taskqueue import codec
from taskqueue.definitions import StepDefinition, stand_ins
from taskqueue.errors import Permanent, TaskqueueError

if TYPE_CHECKING:
    from taskqueue.authoring import Step

P = ParamSpec("P")
R = TypeVar("R")
UNSET: Final[Any] = object()
Raised = BaseException | type[BaseException]


class Fake(ContextDecorator):
    """What stands in for a step, within a `with` block or for the length of a decorated function.

    Attributes:
        calls: the arguments of each call with their types, by the names of the parameters, defaults included.
    """

    def __init__(self, step: StepDefinition, answer: Callable[..., Any]) -> None:
        self.step = step
        self.calls: list[dict[str, Any]] = []
        self._answer = answer
        self._replaced: list[Callable[..., Any] | None] = []

    def __enter__(self) -> Self:
        """From now on it is called instead."""
        self._replaced.append(stand_ins.get(self.step))
        stand_ins[self.step] = self._acall if self.step.is_async else self._call
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What was called before is called again."""
        replaced = self._replaced.pop()
        if replaced is None:
            stand_ins.pop(self.step, None)
        else:
            stand_ins[self.step] = replaced

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        """Note the call, and answer it."""
        bound = self.step.arguments.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        self.calls.append(dict(bound.arguments))
        return self._answer(*args, **kwargs)

    async def _acall(self, *args: Any, **kwargs: Any) -> Any:
        """The same for an `async def` step."""
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
    """Let something stand in for a step's function: `with fake(charge, returns=Receipt(total=3)) as charged:`.

    Everything else of the step stays as it is: its retries, its timeout, the check of its arguments and its result.

    Args:
        step: the step.
        returns: what each call returns.
        returns_each: what the calls return, one after the other; an exception among them is raised.
        raises: what each call raises.
        calls: what is called instead, with the same arguments.

    Raises:
        TypeError: not exactly one of the four was given, or a value does not fit what the step returns.
    """
    ways = {"returns": returns, "returns_each": returns_each, "raises": raises, "calls": calls}
    given = [name for name, value in ways.items() if value is not UNSET]
    definition: StepDefinition = step.definition
    if len(given) != 1:
        found = " and ".join(given) or "nothing"
        raise TypeError(
            f"The fake of step {definition.name!r} needs one of returns, returns_each, raises or calls; it has {found}."
        )
    if calls is not UNSET:
        return Fake(definition, calls)
    if raises is not UNSET:
        return Fake(definition, functools.partial(answer_with, checked_error(definition, raises)))
    if returns is not UNSET:
        return Fake(definition, functools.partial(answer_with, checked(definition, returns)))
    return Fake(
        definition, functools.partial(answer_next, definition, len(returns_each), each(definition, returns_each))
    )


def each(step: StepDefinition, values: Sequence[Any]) -> Iterator[Any]:
    """The values in turn, all of them checked before the first one is asked for."""
    return iter([value if is_raised(value) else checked(step, value) for value in values])


def checked(step: StepDefinition, value: Any) -> Any:
    """A value, if the step could return it.

    Raises:
        TypeError: it could not.
    """
    try:
        step.result.read(step.result.write(value, what=f"output of step {step.name!r}"))
    except ValidationError as error:
        faults = "; ".join(f"{fault.pointer} {fault.detail}".strip() for fault in codec.faults_of(error))
        raise TypeError(f"The fake of step {step.name!r} cannot return {value!r}: {faults}.") from error
    except TaskqueueError as error:
        raise TypeError(f"The fake of step {step.name!r} cannot return {value!r}: {error}") from error
    return value


def checked_error(step: StepDefinition, error: Any) -> Any:
    """An exception, or a class of exceptions.

    Raises:
        TypeError: it is neither.
    """
    if not is_raised(error):
        raise TypeError(f"The fake of step {step.name!r} cannot raise {error!r}: it is not an exception.")
    return error


def is_raised(value: Any) -> bool:
    """Whether a value is raised rather than returned."""
    return isinstance(value, BaseException) or (isinstance(value, type) and issubclass(value, BaseException))


def answer_with(answer: Any, *_args: Any, **_kwargs: Any) -> Any:
    """Return or raise it."""
    if is_raised(answer):
        raise answer
    return answer


def answer_next(step: StepDefinition, number: int, answers: Iterator[Any], *_args: Any, **_kwargs: Any) -> Any:
    """Return or raise the next one. One call too many fails for good: trying it again would only hide it."""
    for answer in answers:
        return answer_with(answer)
    raise Permanent(f"The fake of step {step.name!r} was called more than {number} times, and has no more answers.")
