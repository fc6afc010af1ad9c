"""Calls: what a step is when a body names it: finished before, or about to be called."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from taskqueue.definitions import StepDefinition
from taskqueue.engine.execution.journal import Entry
from taskqueue.engine.execution.log_capture import Lines


@dataclass(frozen=True)
class Memoized:
    """A step that was finished before."""

    value: Any


@dataclass
class Call:
    """A step that is about to be called."""

    step: StepDefinition
    key: str
    entry: Entry | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    began: float = field(default_factory=time.monotonic)
    depth: int = 0
    """How many atomic blocks were open when it was called."""
    lines: Lines = field(default_factory=Lines)
    """What it logs."""

    @property
    def elapsed(self) -> timedelta:
        """How long ago it began."""
        return timedelta(seconds=time.monotonic() - self.began)
