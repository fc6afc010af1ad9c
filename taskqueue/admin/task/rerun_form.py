"""The form for a rerun with another payload: JSON that the pipeline's own model has to accept, its secrets apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from taskqueue.admin.shared import secret_fields
from taskqueue.admin.shared.json_input import read
from taskqueue.definitions import registry
from taskqueue.engine.access import redaction
from taskqueue.errors import FieldError, InvalidValue, TaskqueueError
from taskqueue.models import Task


@dataclass(frozen=True)
class SecretField:
    """A secret of the original payload: empty to keep it.

    Attributes:
        name: of the field in the form.
        pointer: where it is in the payload.
        typed: what was typed.
    """

    name: str
    pointer: str
    typed: str
    is_text: bool

    @property
    def value(self) -> Any:
        """What was typed as JSON has it: as the original is, a text or something else."""
        return self.typed if self.is_text else read(self.typed)


class RerunForm:
    """A payload that somebody edits, as text.

    Attributes:
        text: what stands in the field: the payload without its secrets.
        secrets: a field for each of these.
        faults: what is wrong with it: where, as a pointer, and what.
    """

    def __init__(self, task: Task, given: Mapping[str, str] | None) -> None:
        self.task = task
        self.original, self._secrets = secret_fields.split(task.payload, *redaction.schemas_of(task.pipeline_id)[0])
        self.text = layout(self.original) if given is None else given.get("payload", "")
        self.secrets = {path: field_of(path, secret, given or {}) for path, secret in self._secrets.items()}
        self.faults: list[FieldError] = []
        self.payload: Any = None

    def is_valid(self) -> bool:
        """Whether the pipeline's model accepts it; the faults are noted."""
        try:
            self.payload = read(self.text)
        except ValueError as error:
            self.faults = [FieldError("", str(error))]
            return False
        return self._put_secrets_back() and self.attempt(self._check) is not None

    def attempt(self, verb: Callable[[Any], Any]) -> Any:
        """Do something with the payload; what the engine refuses is noted, and nothing comes of it."""
        try:
            return verb(self.payload)
        except TaskqueueError as error:
            self.faults = list(error.errors) if isinstance(error, InvalidValue) else [FieldError("", error.detail)]
            return None

    def _put_secrets_back(self) -> bool:
        """Put what was typed, or else the original's, where it was; whether each has its place."""
        secrets = {}
        for path, field in self.secrets.items():
            try:
                secrets[path] = field.value if field.typed else self._secrets[path]
            except ValueError as error:
                self.faults.append(FieldError(field.pointer, str(error)))
        if () in secrets:
            self.payload = secrets[()] if self.payload is None else self.payload
        for path in secret_fields.restored(self.payload, self.original, secrets):
            sentence = "What it belongs to was changed. Write it into the payload, or leave the rest of it as it was."
            self.faults.append(FieldError(secret_fields.pointer(path), sentence))
        return not self.faults

    def _check(self, payload: Any) -> str:
        """The payload as it would be stored."""
        return registry.get(self.task.pipeline_id).payload.check(payload)


def field_of(path: secret_fields.Path, secret: Any, given: Mapping[str, str]) -> SecretField:
    """The field of one secret."""
    pointer = secret_fields.pointer(path)
    return SecretField(f"secret{pointer}", pointer, given.get(f"secret{pointer}", ""), isinstance(secret, str))


def layout(payload: Any) -> str:
    """JSON for editing."""
    return json.dumps(payload, indent=2, ensure_ascii=False)
