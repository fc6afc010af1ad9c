"""Intake: a call becomes a task, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import transaction

from taskqueue import codec
from taskqueue.conf import settings
from taskqueue.definitions import registry
from taskqueue.digests import payload_digest
from taskqueue.engine import starting, statements
from taskqueue.engine.mirror import mirror_pipeline
from taskqueue.engine.waits import register_cancels
from taskqueue.engine.wakeups import ring_on_commit
from taskqueue.errors import Fault, InvalidOptions
from taskqueue.ids import uuid7
from taskqueue.models import Task
from taskqueue.models.task import PRIORITY_LIMIT

if TYPE_CHECKING:
    from django.db.models import Model

    from taskqueue.definitions import PipelineDefinition

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


def subject_faults(subject: str) -> list[Fault]:
    """What is wrong with the name of an object."""
    faults = list(codec.text_faults(subject, "/subject"))
    if len(subject) > SUBJECT_MAX_LENGTH:
        faults.append(Fault("/subject", f"An object's model and key have at most {SUBJECT_MAX_LENGTH} characters."))
    return faults


def subject_of(thing: Model) -> str:
    """A saved object as tasks name it: its model and its key.

    Raises:
        InvalidOptions: it was not saved yet, so it has no key.
    """
    if thing.pk is None:
        fault = Fault("/subject", f"Save the {thing._meta.verbose_name} before it becomes the subject of a task.")
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
        branch: the place of the step that it runs; it is no task of its own then.
        branch_limit: of its siblings so many at a time.
        held: it waits until it is told to start.
        shares_place: it counts under the place that its parent holds.
    """

    rerun_of: UUID | None = None
    event: UUID | None = None
    cron_at: datetime | None = None
    parent: UUID | None = None
    parent_key: str = ""
    depth: int = 0
    branch: str = ""
    branch_limit: int | None = None
    held: bool = False
    shares_place: bool = False


DEFAULT = Options()
CALLER = Origin()


def enqueue(pipeline: str, payload: object, *, options: Options = DEFAULT, origin: Origin = CALLER) -> Task:
    """Make a task of a pipeline, from plain JSON values.

    Args:
        pipeline: the pipeline's name.
        payload: what its model accepts.
        options: key, priority, time and labels.
        origin: where it comes from, if not from a caller.

    Returns:
        The new task, or the one that the key stands for, with `duplicate` set.

    Raises:
        UnknownPipeline, InvalidPayload, Unstorable, TooLarge: nothing was made.
        KeyReused: the key stands for a task that was made from another payload.
    """
    definition = registry.get(pipeline)
    return insert(definition, definition.payload.check(payload), options=options, origin=origin)


def insert(
    definition: PipelineDefinition, payload: str, *, options: Options = DEFAULT, origin: Origin = CALLER
) -> Task:
    """Make a task whose payload has been checked and written by the pipeline's own model; else as `enqueue`."""
    return insert_values(definition, values_of(definition, payload, options, origin), options)


def values_of(definition: PipelineDefinition, payload: str, options: Options, origin: Origin) -> dict[str, Any]:
    """The parameters of ENQUEUE for a task.

    Raises:
        InvalidOptions, TooLarge: there can be no such task.
    """
    limits = settings()
    codec.within(payload, limit=limits.PAYLOAD_MAX_BYTES, what="The payload", setting="PAYLOAD_MAX_BYTES")
    return {
        "id": uuid7(),
        "pipeline": definition.name,
        "payload": payload,
        "key": options.key,
        "payload_digest": payload_digest(payload) if options.key else "",
        "force": options.force,
        "window": limits.IDEMPOTENCY_WINDOW,
        "priority": options.priority,
        "run_at": options.run_at,
        "labels": codec.write(dict(options.labels), what="labels"),
        "subject": options.subject,
        **vars(origin),
        **start_of(definition, payload, options),
        **({"echo": True} if origin.parent is not None else {}),
        **starting.sharing(definition, payload, options, origin),
    }


def insert_values(definition: PipelineDefinition, values: dict[str, Any], options: Options) -> Task:
    """Make the task of these parameters, or find the one that stands in for it. They are used up by it.

    Raises:
        KeyReused
    """
    make_task = partial(make, definition, values, options)
    if definition.policies.cancel_on:
        # The task and what may cancel it are one: who dies between the two must not leave half of it.
        make_task = transaction.atomic(make_task)
    if starting.is_shared(values):
        return starting.join_or_make(definition, values, make_task)
    while True:
        if (task := make_task()) is not None:
            return task
        if (task := starting.taken(definition, values)) is not None:
            return task
        # The key's window ended, or its task was pruned, between the two statements: there is room for ours now.


def make(definition: PipelineDefinition, values: dict[str, Any], options: Options) -> Task | None:
    """Insert the task's row, unless its key, its singleton or the like is taken."""
    made = statements.fetch(statements.ENQUEUE, values)
    if not made:
        return None
    if made[0][-1]:
        mirror_pipeline(definition)
    if definition.policies.cancel_on:
        register_cancels(definition, values["id"], values["payload"], options.labels)
    ring_on_commit()
    return new_task(values, options, made[0])


def start_of(definition: PipelineDefinition, payload: str, options: Options) -> dict[str, Any]:
    """What the pipeline's policies say about a new task."""
    policies = definition.policies
    return {
        "group": starting.key_of(policies.group, definition, payload, options) if policies.group else "",
        "version": policies.version,
        "start_within": policies.start_within,
        "finish_within": policies.finish_within,
        "cancel_grace": policies.cancel_grace,
        "echo": definition.has_listeners(registry.mentions),
    }


def new_task(values: dict[str, Any], options: Options, made: tuple[Any, ...]) -> Task:
    """The task just inserted, as a model instance and without another query; its payload is deferred."""
    status, due_at, sort_at, created_at, _unmirrored = made
    task = Task(
        id=values["id"],
        pipeline_id=values["pipeline"],
        status=status,
        key=options.key,
        labels=dict(options.labels),
        priority=options.priority,
        due_at=due_at,
        sort_at=sort_at,
        group=values["group"],
        subject=options.subject,
        version=values["version"],
        rerun_of_id=values["rerun_of"],
        parent_id=values["parent"],
        event_id=values["event"],
        created_at=created_at,
    )
    del task.payload
    task._state.adding = False
    task._state.db = "default"
    return task
