# ruff: noqa: F403, F405 - a type checker checks the names in __all__ against those of authoring
"""Durable multi-step tasks inside one Django project and one PostgreSQL database.

    from taskqueue import pipeline, step

The names are looked up when they are first used: Django imports this package before its models can exist.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskqueue.authoring import *

__all__ = [
    "Arrived",
    "Batch",
    "BoundPipeline",
    "CancelOn",
    "Debounce",
    "Deferred",
    "EventOf",
    "GatherFailed",
    "InvalidEventData",
    "Limit",
    "On",
    "Permanent",
    "Pipeline",
    "Rate",
    "Retry",
    "RetryAfter",
    "Singleton",
    "Step",
    "StepFailed",
    "StepTimedOut",
    "TaskEnded",
    "aemit",
    "answer_link",
    "current_task",
    "each",
    "emit",
    "enqueue_many",
    "event_of",
    "gather",
    "pipeline",
    "sleep",
    "sleep_until",
    "step",
    "wait_any",
    "wait_for",
]


def __getattr__(name: str) -> Any:
    """An author's name, from `taskqueue.authoring`."""
    if name in __all__:
        return getattr(import_module("taskqueue.authoring"), name)
    raise AttributeError(f"module 'taskqueue' has no attribute {name!r}")
