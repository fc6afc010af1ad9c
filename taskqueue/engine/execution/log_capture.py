"""Logs: what a step's function says by Python's logging is kept with the try that said it.

A handler on the root logger hears what passes the levels that the project has set, and gives each record to the step
that is on the stack. It changes neither levels nor what other handlers do.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Final

from taskqueue import codec, masks
from taskqueue.conf import settings

HEART: Final = "taskqueue-heart"
"""The name of the engine's own thread beside the working one; what is said there is no step's."""
LINE_MAX: Final = 4_000
"""Most characters of one line."""


class Lines:
    """The last lines that one try of a step has logged. Entered around the author's function."""

    __slots__ = ("arguments", "began", "dropped", "kept", "size", "token")

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.kept: deque[tuple[int, str, str, str]] | None = None
        self.size = 0
        self.dropped = 0
        self.token: Token[Lines | None] | None = None
        self.arguments: str | None = None
        """Of the step, as JSON: what may be secret in what it says."""

    def __enter__(self) -> Lines:
        """Hear from here on, unless the setting turns it off."""
        if settings().STEP_LOG_LINES > 0:
            self.token = speaking.set(self)
            being_kept.append(self)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Hear no more."""
        if self.token is not None:
            being_kept.remove(self)
            speaking.reset(self.token)
            self.token = None

    def of(self, arguments: str | None) -> Lines:
        """The same, told what its step was given."""
        self.arguments = arguments
        return self

    def add(self, level: str, logger: str, text: str) -> None:
        """Keep a line, and let the oldest ones go when there are too many. Under the handler's lock."""
        limits = settings()
        kept = self.kept = deque() if self.kept is None else self.kept
        said_at = round((time.monotonic() - self.began) * 1000)
        kept.append((said_at, level, logger[:200], codec.printable(text[:LINE_MAX])))
        self.size += len(kept[-1][-1].encode())
        while len(kept) > limits.STEP_LOG_LINES or (self.size > limits.STEP_LOG_MAX_BYTES and len(kept) > 1):
            self.size -= len(kept.popleft()[-1].encode())
            self.dropped += 1

    def so_far(self, secrets: Sequence[str]) -> str | None:
        """The same as `written`, for another thread than the one that logs."""
        with KEEPER.lock or nullcontext():
            return self.written(secrets)

    def written(self, secrets: Sequence[str] = ()) -> str | None:
        """What is stored, as JSON and without these secrets; None when nothing was said."""
        if self.kept is None:
            return None
        lines = masks.hidden([list(line) for line in self.kept], secrets)
        return codec.write({"dropped": self.dropped, "lines": lines}, what="log")


speaking: ContextVar[Lines | None] = ContextVar("taskqueue_speaking", default=None)
"""Where the lines of the code that runs here go."""

being_kept: list[Lines] = []
"""All that are open in this process: more than one when async steps run beside each other."""


class Keeper(logging.Handler):
    """Gives each record to the step that it came from."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it; a record of no step goes by."""
        try:
            if (lines := lines_of(record)) is not None:
                lines.add(record.levelname, record.name, self.format(record))
            if logging.lastResort is not None and record.levelno >= logging.lastResort.level and is_only(record, self):
                logging.lastResort.handle(record)  # as without us: nobody else hears it
        except Exception:  # noqa: BLE001 - the author's arguments may not fit, as for every handler
            self.handleError(record)


def lines_of(record: logging.LogRecord) -> Lines | None:
    """Where a record belongs: to the step whose context it has, or from a thread without one to the only open step."""
    lines = speaking.get()
    if lines is not None or len(being_kept) != 1:
        return lines
    is_elsewhere = threading.current_thread() is threading.main_thread() or record.threadName == HEART
    return None if is_elsewhere else being_kept[0]


def is_only(record: logging.LogRecord, handler: logging.Handler) -> bool:
    """Whether no other handler hears a record."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        if any(other is not handler for other in logger.handlers):
            return False
        logger = logger.parent if logger.propagate else None
    return True


KEEPER: Final = Keeper()
AUTHORS: Final = logging.getLogger("taskqueue.task")
"""What `current_task().logger` is. The root logger hears nothing below WARNING unless the project says so; this one
is for lines that shall be kept."""
AUTHORS.setLevel(logging.INFO)


def listen() -> None:
    """See that the root logger has our handler; a project may have set up its logging since."""
    root = logging.getLogger()
    if settings().STEP_LOG_LINES > 0 and KEEPER not in root.handlers:
        root.addHandler(KEEPER)
