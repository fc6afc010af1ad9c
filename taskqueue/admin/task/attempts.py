"""The tries of a step as its panel shows them: how each ended, what it raised and logged, and where in the code."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats, html
from taskqueue.admin.task.traceback import Run, runs_of
from taskqueue.admin.task.waterfall import Bar
from taskqueue.models import Attempt
from taskqueue.states import StepStatus


def attempt_number(failures: int, status: str) -> int:
    """Which attempt a step or body is at: the one that goes on or comes next; of one that has failed the last.

    Args:
        failures: failed attempts since the last retry by a person, lost ones included.
        status: its own.
    """
    return max(failures + (status != StepStatus.FAILED), 1)


@dataclass(frozen=True)
class LogLine:
    """One line that a step has logged."""

    moment: str
    level: str
    logger: str
    text: str

    @property
    def look(self) -> str:
        """Its level in small letters, as the style sheet knows it."""
        return self.level.lower()


@dataclass(frozen=True)
class Log:
    """What one try has logged.

    Attributes:
        lines: the last ones.
        dropped: how many came before them.
    """

    lines: list[LogLine]
    dropped: int


def log_of(kept: dict[str, Any] | None) -> Log | None:
    """What was kept, for reading; None when nothing was said."""
    if not kept:
        return None
    lines = [
        LogLine(f"+{formats.duration(timedelta(milliseconds=said_at))}", level, logger, text)
        for said_at, level, logger, text in kept["lines"]
    ]
    return Log(lines, kept["dropped"])


@dataclass(frozen=True)
class FailedAttempt:
    """One failed try of a step."""

    attempt: Attempt
    now: datetime
    details: dict[str, Any] | None = None
    """Traceback and log; None of one that is too old for the page."""

    @property
    def badge(self) -> SafeString:
        """How it ended."""
        return html.badge(self.attempt.outcome)

    @property
    def moment(self) -> SafeString:
        """When it began."""
        return html.moment(self.attempt.started_at, self.now)

    @property
    def took(self) -> str:
        """How long it went on."""
        return formats.duration(formats.between(self.attempt.started_at, self.attempt.finished_at))

    @property
    def message(self) -> str:
        """What the error said."""
        message: str = self.attempt.message  # type: ignore[attr-defined]  # annotated
        return message

    @property
    def first_line(self) -> str:
        """The same, on one line."""
        return formats.first_line(self.message)

    @property
    def traceback(self) -> str:
        """The traceback, if it is on the page."""
        return self.details["traceback"] if self.details else ""

    @property
    def runs(self) -> list[Run]:
        """The traceback with the project's own code before the eye."""
        return runs_of(self.traceback)

    @property
    def log(self) -> Log | None:
        """What it logged."""
        return log_of(self.details["logs"]) if self.details else None

    @property
    def bar(self) -> Bar:
        """Its place in the waterfall."""
        outcome = self.attempt.outcome
        what = f"Attempt {self.attempt.number}, {outcome.replace('_', ' ')}"
        return Bar(look=outcome, start=self.attempt.started_at, end=self.attempt.finished_at, what=what)
