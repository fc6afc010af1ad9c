"""What a caller may say about a task besides its payload, and where a task comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from taskqueue import codec
from taskqueue.errors import FieldError, InvalidOptions
from taskqueue.models.task import PRIORITY_LIMIT

if TYPE_CHECKING:
    from django.db.models import Model
KEY_MAX_LENGTH = 200
LABELS_MAX = 20
LAST_YEAR = 9000
"""Python has no times after 9999, and a time zone or a priority may move a time on."""
LABEL_MAX_LENGTH = 200
SUBJECT_MAX_LENGTH = 200


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a caller may say about a task besides its payload.

    Attributes:
        key: the same key within its window finds the task that it made instead of making another; empty for none.
        force: make a new task all the same; the key then stands for the new one.
        priority: seconds by which it goes before tasks of the same age, from -600 to 600.
        run_at: when it may start, an aware datetime; None or a past one for now.
        labels: short texts by which it can be found again.
        subject: the object that it is about, as `subject_of` writes it; empty for none.

    Raises:
        InvalidOptions: with a pointer for each fault.
    """

    key: str = ""
    force: bool = False
    priority: int = 0
    run_at: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    subject: str = ""

    def __post_init__(self) -> None:
        """Refuse what the row could not hold, with one sentence for each fault."""
        faults = [*key_faults(self.key), *label_faults(self.labels), *subject_faults(self.subject)]
        if not -PRIORITY_LIMIT <= self.priority <= PRIORITY_LIMIT:
            faults.append(
                FieldError("/priority", f"The priority is a number from -{PRIORITY_LIMIT} to {PRIORITY_LIMIT}.")
            )
        if self.run_at is not None and self.run_at.utcoffset() is None:
            faults.append(FieldError("/run_at", "The time needs a UTC offset, such as 2030-01-31T08:00:00Z."))
        elif self.run_at is not None and self.run_at.year > LAST_YEAR:
            faults.append(FieldError("/run_at", f"The time is after the year {LAST_YEAR}."))
        if faults:
            raise InvalidOptions(f"The task's options are not valid: {faults[0].detail}", faults)


def key_faults(key: str) -> list[FieldError]:
    """What is wrong with a key."""
    faults = [FieldError("/key", fault.detail) for fault in codec.text_faults(key, "/key")]
    if len(key) > KEY_MAX_LENGTH:
        faults.append(FieldError("/key", f"A key has at most {KEY_MAX_LENGTH} characters."))
    return faults


def label_faults(labels: Mapping[str, str]) -> list[FieldError]:
    """What is wrong with the labels."""
    faults = [] if len(labels) <= LABELS_MAX else [FieldError("/labels", f"A task has at most {LABELS_MAX} labels.")]
    for name, value in labels.items():
        pointer = f"/labels/{codec.escape(name)}"
        faults += codec.text_faults(name, pointer)
        faults += codec.text_faults(value, pointer)
        if max(len(name), len(value)) > LABEL_MAX_LENGTH:
            faults.append(FieldError(pointer, f"A label's name and value have at most {LABEL_MAX_LENGTH} characters."))
    return faults


def subject_faults(subject: str) -> list[FieldError]:
    """What is wrong with the name of an object."""
    faults = list(codec.text_faults(subject, "/subject"))
    if len(subject) > SUBJECT_MAX_LENGTH:
        faults.append(
            FieldError("/subject", f"An object's model and key have at most {SUBJECT_MAX_LENGTH} characters.")
        )
    return faults


def subject_of(thing: Model) -> str:
    """A saved object as tasks name it: its model and its key.

    Raises:
        InvalidOptions: it was not saved yet, so it has no key.
    """
    if thing.pk is None:
        fault = FieldError("/subject", f"Save the {thing._meta.verbose_name} before it becomes the subject of a task.")
        raise InvalidOptions(fault.detail, [fault])
    # Of a proxy the model that it stands for: the object is the same one.
    model = thing._meta.concrete_model or type(thing)
    return f"{model._meta.label_lower}:{thing.pk}"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a task comes from when it was not a caller's plain request.

    Attributes:
        rerun_of: the task whose payload this is.
        event: the event that starts it.
        cron_at: the tick of the clock that it is for.
        parent: the task for which it does the step `parent_key`, at `depth` below the first one.
        parallel_step: the place of the step that it runs; it is no task of its own then.
        parallel_limit: of its siblings so many at a time.
        held: it waits until it is told to start.
        shares_slot: it counts under the place that its parent holds.
    """

    rerun_of: UUID | None = None
    event: UUID | None = None
    cron_at: datetime | None = None
    parent: UUID | None = None
    parent_key: str = ""
    depth: int = 0
    parallel_step: str = ""
    parallel_limit: int | None = None
    held: bool = False
    shares_slot: bool = False


DEFAULT = Options()
CALLER = Origin()
