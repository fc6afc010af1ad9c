"""The form for a rerun with another payload: JSON that the pipeline's own model has to accept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from taskqueue.admin.typed_json import read
from taskqueue.definitions import registry
from taskqueue.errors import Fault, Faulty, TaskqueueError
from taskqueue.models import Task


class RerunForm:
    """A payload that somebody edits, as text.

    Attributes:
        text: what stands in the field.
        faults: what is wrong with it: where, as a pointer, and what.
    """

    def __init__(self, task: Task, given: Mapping[str, str] | None) -> None:
        self.task = task
        self.text = layout(task.payload) if given is None else given.get("payload", "")
        self.faults: list[Fault] = []
        self.payload: Any = None

    def is_valid(self) -> bool:
        """Whether the pipeline's model accepts it; the faults are noted."""
        try:
            self.payload = read(self.text)
        except ValueError as error:
            self.faults = [Fault("", str(error))]
            return False
        return self.attempt(self._check) is not None

    def attempt(self, verb: Callable[[Any], Any]) -> Any:
        """Do something with the payload; what the engine refuses is noted, and nothing comes of it."""
        try:
            return verb(self.payload)
        except TaskqueueError as error:
            self.faults = list(error.errors) if isinstance(error, Faulty) else [Fault("", error.detail)]
            return None

    def _check(self, payload: Any) -> str:
        """The payload as it would be stored."""
        return registry.get(self.task.pipeline_id).payload.check(payload)


def layout(payload: Any) -> str:
    """JSON for editing."""
    return json.dumps(payload, indent=2, ensure_ascii=False)
