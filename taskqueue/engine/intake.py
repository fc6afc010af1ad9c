"""Intake: a call becomes a task, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from taskqueue import codec
from taskqueue.conf import settings
from taskqueue.definitions import registry
from taskqueue.engine import statements
from taskqueue.engine.wakeups import ring_on_commit
from taskqueue.errors import Fault, InvalidOptions
from taskqueue.ids import uuid7
from taskqueue.models import Task
from taskqueue.models.task import PRIORITY_LIMIT

if TYPE_CHECKING:
    from taskqueue.definitions import PipelineDefinition

KEY_MAX_LENGTH = 200
LABELS_MAX = 20
LAST_YEAR = 9000
"""Python has no times after 9999, and a time zone or a priority may move a time on."""
LABEL_MAX_LENGTH = 200


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a caller may say about a task besides its payload.

    Attributes:
        key: the same key within its window finds the task that it made instead of making another; empty for none.
        force: make a new task all the same; the key then stands for the new one.
        priority: seconds by which it goes before tasks of the same age, from -600 to 600.
        run_at: when it may start, an aware datetime; None or a past one for now.
        labels: short texts by which it can be found again.

    Raises:
        InvalidOptions: with a pointer for each fault.
    """

    key: str = ""
    force: bool = False
    priority: int = 0
    run_at: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what the row could not hold, with one sentence for each fault."""
        faults = [*key_faults(self.key), *label_faults(self.labels)]
        if not -PRIORITY_LIMIT <= self.priority <= PRIORITY_LIMIT:
            faults.append(Fault("/priority", f"The priority is a number from -{PRIORITY_LIMIT} to {PRIORITY_LIMIT}."))
        if self.run_at is not None and self.run_at.utcoffset() is None:
            faults.append(Fault("/run_at", "The time needs a UTC offset, such as 2030-01-31T08:00:00Z."))
        elif self.run_at is not None and self.run_at.year > LAST_YEAR:
            faults.append(Fault("/run_at", f"The time is after the year {LAST_YEAR}."))
        if faults:
            raise InvalidOptions(f"The task's options are not valid: {faults[0].detail}", faults)


def key_faults(key: str) -> list[Fault]:
    """What is wrong with a key."""
    faults = [Fault("/key", fault.detail) for fault in codec.text_faults(key, "/key")]
    if len(key) > KEY_MAX_LENGTH:
        faults.append(Fault("/key", f"A key has at most {KEY_MAX_LENGTH} characters."))
    return faults


def label_faults(labels: Mapping[str, str]) -> list[Fault]:
    """What is wrong with the labels."""
    faults = [] if len(labels) <= LABELS_MAX else [Fault("/labels", f"A task has at most {LABELS_MAX} labels.")]
    for name, value in labels.items():
        pointer = f"/labels/{codec.escape(name)}"
        faults += codec.text_faults(name, pointer)
        faults += codec.text_faults(value, pointer)
        if max(len(name), len(value)) > LABEL_MAX_LENGTH:
            faults.append(Fault(pointer, f"A label's name and value have at most {LABEL_MAX_LENGTH} characters."))
    return faults


DEFAULT = Options()


def enqueue(pipeline: str, payload: object, *, options: Options = DEFAULT, rerun_of: UUID | None = None) -> Task:
    """Make a task of a pipeline, from plain JSON values.

    Args:
        pipeline: the pipeline's name.
        payload: what its model accepts.
        options: key, priority, time and labels.
        rerun_of: the task whose payload this is.

    Returns:
        The new task, or the one that the key stands for, with `duplicate` set.

    Raises:
        UnknownPipeline, InvalidPayload, Unstorable, TooLarge: nothing was made.
    """
    definition = registry.get(pipeline)
    return insert(definition, definition.payload.check(payload), options=options, rerun_of=rerun_of)


def insert(
    definition: PipelineDefinition, payload: str, *, options: Options = DEFAULT, rerun_of: UUID | None = None
) -> Task:
    """Make a task whose payload has been checked and written by the pipeline's own model; else as `enqueue`."""
    limits = settings()
    codec.within(payload, limit=limits.PAYLOAD_MAX_BYTES, what="The payload", setting="PAYLOAD_MAX_BYTES")
    values: dict[str, Any] = {
        "id": uuid7(),
        "pipeline": definition.name,
        "payload": payload,
        "key": options.key,
        "force": options.force,
        "window": limits.IDEMPOTENCY_WINDOW,
        "priority": options.priority,
        "run_at": options.run_at,
        "labels": codec.write(dict(options.labels), what="labels"),
        "rerun_of": rerun_of,
    }
    while True:
        made = statements.fetch(statements.ENQUEUE, values)
        if made:
            ring_on_commit()
            return new_task(values, options, made[0])
        if (task := holder_of(definition.name, options.key)) is not None:
            return task
        # The key's window ended, or its task was pruned, between the two statements: there is room for ours now.


def new_task(values: dict[str, Any], options: Options, made: tuple[Any, ...]) -> Task:
    """The task just inserted, as a model instance and without another query; its payload is deferred."""
    status, due_at, sort_at, created_at = made
    task = Task(
        id=values["id"],
        pipeline_id=values["pipeline"],
        status=status,
        key=options.key,
        labels=dict(options.labels),
        priority=options.priority,
        due_at=due_at,
        sort_at=sort_at,
        rerun_of_id=values["rerun_of"],
        created_at=created_at,
    )
    del task.payload
    task._state.adding = False
    task._state.db = "default"
    return task


def holder_of(pipeline: str, key: str) -> Task | None:
    """The task that a key stands for at present."""
    task = Task.objects.filter(idempotency_keys__pipeline=pipeline, idempotency_keys__key=key).first()
    if task is not None:
        task.duplicate = True
    return task
