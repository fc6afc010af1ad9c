"""The argument of a pipeline's failure and cancellation handlers."""

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
    """As JSON, with its secrets; None when it is too large to be passed on."""
    error: dict[str, Any] | None = None
    """Of a failed task: its type, message and step."""
    reason: str = ""
    """Of a cancelled task: the reason of the cancellation."""
