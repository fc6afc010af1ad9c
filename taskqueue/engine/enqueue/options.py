"""Options of a request, and the origin of a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from taskqueue.errors import FieldError, InvalidOptions
from taskqueue.json_pointers import escape
from taskqueue.json_values import codec
from taskqueue.models.task import PRIORITY_LIMIT

if TYPE_CHECKING:
    from django.db.models import Model
KEY_MAX_LENGTH = 200
LABELS_MAX = 20
LABEL_MAX_LENGTH = 200
SUBJECT_MAX_LENGTH = 200
RUN_AT_MAX_YEAR = 9000
"""Python's times end with the year 9999; a time zone or a priority may move a time later."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a request; its payload is apart.

    Attributes:
        key: idempotency key; a request with the same key within its window returns the existing task. Empty for none.
        force: create a new task even if the key belongs to one; the key then belongs to the new task.
        priority: seconds by which the task goes before tasks of the same age, from -600 to 600.
        run_at: the earliest start, an aware datetime; None or a past time for now.
        labels: short texts to find the task by.
        callback_url: an address that is called when the task has ended; `actions.submissions` writes it.
        subject: the object that the task is about, as `subject_of` writes it; empty for none.

    Raises:
        InvalidOptions: with a JSON pointer for each error.
    """

    key: str = ""
    force: bool = False
    priority: int = 0
    run_at: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    subject: str = ""
    callback_url: str = ""

    def __post_init__(self) -> None:
        errors = [*key_errors(self.key), *label_errors(self.labels), *subject_errors(self.subject)]
        if not -PRIORITY_LIMIT <= self.priority <= PRIORITY_LIMIT:
            errors.append(
                FieldError("/priority", f"The priority is a number from -{PRIORITY_LIMIT} to {PRIORITY_LIMIT}.")
            )
        if self.run_at is not None and self.run_at.utcoffset() is None:
            errors.append(FieldError("/run_at", "The time needs a UTC offset, such as 2030-01-31T08:00:00Z."))
        elif self.run_at is not None and self.run_at.year > RUN_AT_MAX_YEAR:
            errors.append(FieldError("/run_at", f"The time is after the year {RUN_AT_MAX_YEAR}."))
        if errors:
            raise InvalidOptions(f"The task's options are not valid: {errors[0].detail}", errors)


def key_errors(key: str) -> list[FieldError]:
    """The errors of an idempotency key."""
    errors = [FieldError("/key", error.detail) for error in codec.text_errors(key, "/key")]
    if len(key) > KEY_MAX_LENGTH:
        errors.append(FieldError("/key", f"A key has at most {KEY_MAX_LENGTH} characters."))
    return errors


def label_errors(labels: Mapping[str, str]) -> list[FieldError]:
    errors = [] if len(labels) <= LABELS_MAX else [FieldError("/labels", f"A task has at most {LABELS_MAX} labels.")]
    for name, value in labels.items():
        pointer = f"/labels/{escape(name)}"
        errors += codec.text_errors(name, pointer)
        errors += codec.text_errors(value, pointer)
        if max(len(name), len(value)) > LABEL_MAX_LENGTH:
            errors.append(FieldError(pointer, f"A label's name and value have at most {LABEL_MAX_LENGTH} characters."))
    return errors


def subject_errors(subject: str) -> list[FieldError]:
    errors = list(codec.text_errors(subject, "/subject"))
    if len(subject) > SUBJECT_MAX_LENGTH:
        errors.append(
            FieldError("/subject", f"An object's model and key have at most {SUBJECT_MAX_LENGTH} characters.")
        )
    return errors


def subject_of(instance: Model) -> str:
    """The model and primary key of a saved object, as tasks store their subject.

    Raises:
        InvalidOptions: the object is not saved, so it has no primary key.
    """
    if instance.pk is None:
        detail = f"Save the {instance._meta.verbose_name} before it becomes the subject of a task."
        raise InvalidOptions(detail, [FieldError("/subject", detail)])
    # A proxy and its concrete model name one object.
    model = instance._meta.concrete_model or type(instance)
    return f"{model._meta.label_lower}:{instance.pk}"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What creates a task, if it is not a plain request.

    Attributes:
        rerun_of: the task that is rerun.
        event: the event that starts the task.
        cron_at: the time of the scheduled run.
        parent: the parent task, `parent_key` its child step, and `depth` the number of ancestors.
    """

    rerun_of: UUID | None = None
    event: UUID | None = None
    cron_at: datetime | None = None
    parent: UUID | None = None
    parent_key: str = ""
    depth: int = 0


DEFAULT_OPTIONS = Options()
NO_ORIGIN = Origin()
