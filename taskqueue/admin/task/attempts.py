"""Failed attempts of a step as its panel shows them: outcome, error, log, traceback."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats, html
from taskqueue.admin.task.traceback import FrameGroup, frame_groups
from taskqueue.admin.task.waterfall import Span
from taskqueue.models import Attempt
from taskqueue.states import StepStatus


def attempt_number(failures: int, status: str) -> int:
    """The number of the current or next attempt since the last manual retry; of a failed step, of its last one."""
    return max(failures + (status != StepStatus.FAILED), 1)


def log_of(record: dict[str, Any] | None) -> dict[str, Any] | None:
    """The last log lines of one attempt, and how many earlier lines were dropped; None when the log is empty."""
    if not record:
        return None
    lines = [
        {
            "time": f"+{formats.duration(timedelta(milliseconds=milliseconds))}",
            "level": level,
            "logger": logger,
            "text": text,
        }
        for milliseconds, level, logger, text in record["lines"]
    ]
    return {"lines": lines, "dropped": record["dropped"]}


@dataclass(frozen=True)
class AttemptRow:
    attempt: Attempt
    now: datetime
    details: dict[str, Any] | None = None
    """Traceback and log; None for an attempt too old for the page to load them."""

    @property
    def badge(self) -> SafeString:
        return html.badge(self.attempt.outcome)

    @property
    def started(self) -> SafeString:
        return html.moment(self.attempt.started_at, self.now)

    @property
    def duration(self) -> str:
        return formats.duration(formats.between(self.attempt.started_at, self.attempt.finished_at))

    @property
    def message(self) -> str:
        return str(self.attempt.message)  # type: ignore[attr-defined]  # annotated

    @property
    def first_line(self) -> str:
        return formats.first_line(self.message)

    @property
    def traceback(self) -> str:
        return self.details["traceback"] if self.details else ""

    @property
    def frame_groups(self) -> list[FrameGroup]:
        return frame_groups(self.traceback)

    @property
    def log(self) -> dict[str, Any] | None:
        return log_of(self.details["logs"]) if self.details else None

    @property
    def span(self) -> Span:
        outcome = self.attempt.outcome
        label = f"Attempt {self.attempt.number}, {outcome.replace('_', ' ')}"
        return Span(status=outcome, start=self.attempt.started_at, end=self.attempt.finished_at, label=label)
