"""Another release of a pipeline's code."""

from __future__ import annotations

from typing import Any

from taskqueue import pipeline
from taskqueue.definitions import registry


def deploy(body: Any, *, name: str = "drift/shop", **options: Any) -> Any:
    """Define a pipeline again, as another release of the code does."""
    registry._pipelines.pop(name, None)
    return pipeline(name, **options)(body)
