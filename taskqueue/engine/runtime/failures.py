"""Describe the errors of author code for the record, and decide whether another attempt follows."""

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
from taskqueue.json_values.codec import printable
from taskqueue.policies import Retry
from taskqueue.states import AttemptOutcome

NOT_RETRIED = (
    Permanent, TooLarge, NotSerializable, TooManyParallelSteps, NestingTooDeep, InvalidContext, InvalidEventData,
)  # fmt: skip
"""Errors that another attempt would meet again."""

PACKAGE = str(Path(taskqueue.__file__).parent)
TEXT_MAX_LENGTH = 32_000


def is_author_error(error: BaseException) -> bool:
    """Whether an exception fails the attempt. Its class does not matter: sys.exit() in a step fails the step.

    The engine's own unwinding does not, nor does Ctrl-C where it has Python's default handler, as in a test run. A
    worker has another handler, so there a KeyboardInterrupt comes from author code.
    """
    if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        return False
    return not isinstance(error, Unwinding)


def retry_wait(error: BaseException, retry: Retry, *, failures: int) -> timedelta | None:
    """How long to wait before the next attempt; None when there is none.

    Args:
        error: what ended this attempt.
        retry: the policy of the step or of the body.
        failures: failed attempts so far, including this one.
    """
    if isinstance(error, NOT_RETRIED) or not retry.applies_to(error):
        return None
    wait = retry.wait_after(failures, jitter=random.random())  # noqa: S311 - jitter, not a secret
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
    """A failed attempt as it is recorded, without these secrets. Never raises, even if the error's own methods do."""
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
    """The error's message."""
    try:
        return printable(str(error))[:TEXT_MAX_LENGTH]
    except BaseException as broken:  # noqa: BLE001 - the author's __str__ may raise anything
        return printable(f"(its message could not be read: {type(broken).__name__})")[:TEXT_MAX_LENGTH]


def traceback_of(error: BaseException) -> str:
    """The traceback from the first frame of author code on; a very long one is cut at its head."""
    try:
        lines = traceback.format_exception(type(error), error, author_frames(error.__traceback__))
    except BaseException:  # noqa: BLE001 - as above
        lines = traceback.format_tb(error.__traceback__)
    return printable("".join(lines))[-TEXT_MAX_LENGTH:]


def author_frames(frames: TracebackType | None) -> TracebackType | None:
    """The traceback without the engine's frames at its head; unchanged if there are no others."""
    inner = frames
    while inner is not None and inner.tb_frame.f_code.co_filename.startswith(PACKAGE):
        inner = inner.tb_next
    return inner or frames
