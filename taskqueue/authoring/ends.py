"""Ends: what a pipeline's handlers are told of a task that has ended."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class TaskEnded(BaseModel):
    """A task that has failed or was cancelled."""

    model_config = ConfigDict(frozen=True)

    task: UUID
    pipeline: str
    payload: Any = None
    """As JSON; None when it is too large to be passed on. Its secrets are as they were given."""
    error: dict[str, Any] | None = None
    """Of a failed task: type, message and step."""
    reason: str = ""
    """Of a cancelled task: why."""
