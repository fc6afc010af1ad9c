"""Failures: what authors raise, named and judged."""

from __future__ import annotations

import random
import signal
import traceback
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType

import taskqueue
from taskqueue import masks
from taskqueue.codec import printable
from taskqueue.engine.runtime.outcomes import FailedAttempt, Unwinding
from taskqueue.errors import (
    InvalidContext,
    InvalidEventData,
    NestingTooDeep,
    NotSerializable,
    Permanent,
    RetryAfter,
    StepTimedOut,
    TooLarge,
    TooManyParallelSteps,
)
from taskqueue.policies import Retry
from taskqueue.states import AttemptOutcome

FINAL = (Permanent, TooLarge, NotSerializable, TooManyParallelSteps, NestingTooDeep, InvalidContext, InvalidEventData)
"""Trying again cannot help."""

HERE = str(Path(taskqueue.__file__).parent)
TEXT_MAX = 32_000


def is_of_the_author(error: BaseException) -> bool:
    """Whether it ends a try, whatever its class: a step that calls sys.exit() or is cancelled has failed.

    What unwinds the author's code for the engine does not; nor does Ctrl-C in a program that Python lets it end, as a
    test run: a worker has a handler of its own, so there the author has raised it.
    """
    if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        return False
    return not isinstance(error, Unwinding)


def judge(error: BaseException, retry: Retry, *, failures: int) -> timedelta | None:
    """How long to wait before the next try; None when there is none.

    Args:
        error: what ended this try.
        retry: the policy of the step or of the body.
        failures: failed tries so far, this one included.
    """
    if isinstance(error, FINAL) or not retry.covers(error):
        return None
    wait = retry.wait_after(failures, luck=random.random())  # noqa: S311 - jitter, not a secret
    if isinstance(error, RetryAfter) and wait is not None:
        return error.delay
    return wait


def describe(
    error: BaseException,
    *,
    elapsed: timedelta,
    key: str = "",
    name: str = "",
    arguments: str | None = None,
    secrets: Sequence[str] = (),
    logs: str | None = None,
) -> FailedAttempt:
    """A failed try as it is written down, without these secrets. Never raises, whatever the error's own methods do."""
    return FailedAttempt(
        key=key,
        name=name,
        outcome=AttemptOutcome.TIMED_OUT if isinstance(error, StepTimedOut) else AttemptOutcome.FAILED,
        error_type=printable(type(error).__qualname__)[:200],
        message=masks.hidden(message_of(error), secrets),
        traceback=masks.hidden(traceback_of(error), secrets),
        elapsed=elapsed,
        arguments=arguments,
        logs=logs,
    )


def message_of(error: BaseException) -> str:
    """What the error says of itself."""
    try:
        return printable(str(error))[:TEXT_MAX]
    except BaseException as broken:  # noqa: BLE001 - the author's __str__ may raise anything
        return printable(f"(its message could not be read: {type(broken).__name__})")[:TEXT_MAX]


def traceback_of(error: BaseException) -> str:
    """The traceback from the author's first frame on; of a very long one the end."""
    try:
        lines = traceback.format_exception(type(error), error, author_frames(error.__traceback__))
    except BaseException:  # noqa: BLE001 - the same
        lines = traceback.format_tb(error.__traceback__)
    return printable("".join(lines))[-TEXT_MAX:]


def author_frames(frames: TracebackType | None) -> TracebackType | None:
    """The traceback without our own frames at its head; whole if there are no others."""
    inner = frames
    while inner is not None and inner.tb_frame.f_code.co_filename.startswith(HERE):
        inner = inner.tb_next
    return inner or frames
