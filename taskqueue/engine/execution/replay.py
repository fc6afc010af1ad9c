"""Replay: a step that is recorded as finished returns its recorded result; only a new call reaches author code."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from taskqueue.context import Suspension
from taskqueue.definitions import StepDefinition
from taskqueue.engine.author_code.log_capture import LogLines
from taskqueue.engine.execution.journal import Entry, Journal, memoized_failure
from taskqueue.engine.execution.state import Execution
from taskqueue.engine.runtime.outcomes import Release, Waiting
from taskqueue.errors import OutputChanged
from taskqueue.states import StepKind, StepStatus


@dataclass(frozen=True)
class Memoized:
    value: Any


@dataclass
class Call:
    step: StepDefinition
    key: str
    entry: Entry | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    started: float = field(default_factory=time.monotonic)
    arguments: str | None = None
    """As JSON, once they are written."""
    depth: int = 0
    """How many atomic blocks were open when it was called."""
    lines: LogLines = field(default_factory=LogLines)
    is_recorded: bool = False
    """Whether its checkpoint was written."""
    ends_body: bool = False
    """Whether the body returns as soon as it returns."""

    @property
    def elapsed(self) -> timedelta:
        return timedelta(seconds=time.monotonic() - self.started)

    @property
    def failures(self) -> int:
        return self.entry.failures if self.entry else 0


def begin_call(
    execution: Execution, step: StepDefinition, key: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Call | Memoized:
    """Decide what a body's call of a step means.

    Returns:
        The recorded result, or the call that is to be made.

    Raises:
        StepFailed: the step is recorded as failed.
        Suspended: the task suspends before the call.
    """
    execution.check()
    journal, entry = execution.journal, execution.journal.entries.get(key)
    if entry is not None:
        if (drifted := execution.drift.of_step(step, key, entry, args, kwargs)) is not None:
            raise execution.suspend(drifted)
        if entry.status == StepStatus.SUCCEEDED:
            return Memoized(memoized_value(step, key, entry))
        if entry.status == StepStatus.FAILED:
            raise memoized_failure(key, entry)
        if (unfinished := unfinished_parallel_calls(key, journal)) is not None:
            raise execution.suspend(unfinished)
    if execution.should_stop:
        raise execution.suspend(Release())
    if (move := execution.move_for(step)) is not None:
        raise execution.suspend(move)
    return Call(step, key, entry, args, kwargs)


def memoized_value(step: StepDefinition, key: str, entry: Entry) -> Any:
    """A recorded output, with the types of the step's annotation.

    Raises:
        OutputChanged: the annotation has changed since, and the output no longer fits.
    """
    try:
        return step.result.read(entry.output or "null")
    except ValidationError as error:
        raise OutputChanged(f"The recorded output of step {key!r} no longer fits its annotation: {error}") from error


def unfinished_parallel_calls(key: str, journal: Journal) -> Waiting | None:
    """What a plain call waits for when the body made it in parallel before, and it is unfinished; else None.

    It waits for the other unfinished parallel calls too: the body may make them next, and a second call of a running
    step would have its effect twice.
    """
    unfinished = {
        each: entry.kind
        for each, entry in journal.entries.items()
        if entry.status == StepStatus.WAITING and entry.kind in (StepKind.PARALLEL, StepKind.CHILD)
    }
    if key not in unfinished:
        return None
    pauses = tuple(Suspension(kind=StepKind(kind), name=each, key=each) for each, kind in unfinished.items())
    return Waiting(pauses, journal.output_bytes)
