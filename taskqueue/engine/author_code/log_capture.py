"""Capture what a step logs with Python's logging, and keep it with the step's attempt.

A handler on the root logger gets each record that passes the project's levels, and adds it to the step on the stack. It
changes neither levels nor other handlers.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from contextvars import ContextVar, Token
from typing import Final

from taskqueue import masks
from taskqueue.conf import settings
from taskqueue.engine.runtime.engine_threads import is_engine_thread
from taskqueue.json_values import codec

LINE_MAX_LENGTH: Final = 4_000


class LogLines:
    """The last lines that one attempt of a step has logged. Entered around the author's function."""

    __slots__ = ("arguments", "dropped", "records", "size", "started", "token")

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.records: deque[tuple[int, str, str, str]] | None = None
        self.size = 0
        self.dropped = 0
        self.token: Token[LogLines | None] | None = None
        self.arguments: str | None = None
        """The step's, as JSON: their secrets must not show in the lines."""

    def __enter__(self) -> LogLines:
        """Capture from here on, unless the setting turns it off."""
        if settings().STEP_LOG_LINES > 0:
            self.token = current_lines.set(self)
            open_captures.append(self)
        return self

    def __exit__(self, *_error: object) -> None:
        if self.token is not None:
            open_captures.remove(self)
            current_lines.reset(self.token)
            self.token = None

    def add(self, level: str, logger: str, text: str) -> None:
        """Keep a line, and drop the oldest lines beyond the limits. Called under the handler's lock."""
        limits = settings()
        records = self.records = deque() if self.records is None else self.records
        milliseconds = round((time.monotonic() - self.started) * 1000)
        records.append((milliseconds, level, logger[:200], codec.printable(text[:LINE_MAX_LENGTH])))
        self.size += len(records[-1][-1].encode())
        while len(records) > limits.STEP_LOG_LINES or (self.size > limits.STEP_LOG_MAX_BYTES and len(records) > 1):
            self.size -= len(records.popleft()[-1].encode())
            self.dropped += 1

    def snapshot(self, secrets: Sequence[str]) -> str | None:
        """As `to_json`, for another thread than the one that logs."""
        with HANDLER.lock or nullcontext():
            return self.to_json(secrets)

    def to_json(self, secrets: Sequence[str] = ()) -> str | None:
        """The lines as they are stored, without these secrets; None when nothing was logged."""
        if self.records is None:
            return None
        lines = masks.hidden([list(line) for line in self.records], secrets)
        return codec.write({"dropped": self.dropped, "lines": lines}, what="log")


current_lines: ContextVar[LogLines | None] = ContextVar("taskqueue_current_lines", default=None)
"""Those of the step whose code runs here."""

open_captures: list[LogLines] = []
"""All that are entered in this process: more than one when async steps run concurrently."""


executing: set[object] = set()
"""The executions of tasks in this process."""


class CaptureHandler(logging.Handler):
    """Adds each record to the lines of its step."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if (lines := lines_for(record)) is not None:
                lines.add(record.levelname, record.name, self.format(record))
            if logging.lastResort is not None and record.levelno >= logging.lastResort.level and is_only(record, self):
                logging.lastResort.handle(record)  # Python does so when there is no handler, as without this one
        except Exception:  # noqa: BLE001 - the author's arguments may not fit, as for every handler
            self.handleError(record)


def lines_for(record: logging.LogRecord) -> LogLines | None:
    """The lines of the step in whose context a record was logged; from a thread without one, of the only open step.

    With two tasks in this process such a thread may belong to either.
    """
    lines = current_lines.get()
    if lines is not None or len(open_captures) != 1 or len(executing) > 1:
        return lines
    return None if is_engine_thread(record.threadName) else open_captures[0]


def is_only(record: logging.LogRecord, handler: logging.Handler) -> bool:
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        if any(other is not handler for other in logger.handlers):
            return False
        logger = logger.parent if logger.propagate else None
    return True


HANDLER: Final = CaptureHandler()
TASK_LOGGER: Final = logging.getLogger("taskqueue.task")
"""What `current_task().logger` is. The root logger drops what is below WARNING by default; this one keeps INFO too."""
TASK_LOGGER.setLevel(logging.INFO)


def install_handler() -> None:
    """Add the handler to the root logger, unless it is there: a project may have set up its logging since."""
    root = logging.getLogger()
    if settings().STEP_LOG_LINES > 0 and HANDLER not in root.handlers:
        root.addHandler(HANDLER)
