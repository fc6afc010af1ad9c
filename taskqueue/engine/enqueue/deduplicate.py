"""Starting: whether a request makes a task, or one that is there already stands in for it, or has to go.

A singleton has one task under way, a debounced or batched pipeline one that waits; two unique indexes see to it. Who
comes second finds the first one's row, and who finds that it has just gone makes the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction

from taskqueue import codec
from taskqueue.conf import settings
from taskqueue.engine import sql
from taskqueue.engine.runtime.cancel_tree import cancel_all
from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.engine.runtime.waits import renew_cancels
from taskqueue.errors import FieldError, InvalidOptions, KeyReused, NotRetryable
from taskqueue.models import IdempotencyKey, Skip, Task
from taskqueue.states import SkipKind

if TYPE_CHECKING:
    from taskqueue.definitions import PipelineDefinition
    from taskqueue.engine.enqueue.options import Options, Origin
    from taskqueue.policies import KeyTemplate

REASONS = {
    SkipKind.DUPLICATE: "Its key stands for task {task}.",
    SkipKind.SINGLETON: "Task {task} is under way, and there is one at a time.",
    SkipKind.DEBOUNCED: "It replaced the payload of task {task}, which waits for quiet.",
    SkipKind.BATCHED: "Its items were added to task {task}, which gathers a batch.",
    SkipKind.MISFIRE: "Task {task} was made for this tick of the clock before.",
}
SINGLETON_ONCE = "taskqueue_task_singleton_once"


def find_or_insert(definition: PipelineDefinition, values: dict[str, Any], make: Callable[[], Task | None]) -> Task:
    """Let a task that is there stand in for a request, if the pipeline wants it so; else make one.

    Args:
        definition: the pipeline.
        values: the parameters of ENQUEUE.
        make: tries to insert the task; None when somebody else was faster.
    """
    with transaction.atomic():
        if values["key"] and (holder := reserve_key(definition, values)) is not None:
            return use_existing(holder, SkipKind.DUPLICATE, values)
        while True:
            if (joined := join(definition, values)) is not None:
                task, kind = joined
                IdempotencyKey.objects.filter(pipeline=values["pipeline"], key=values["key"]).update(task=task)
                return use_existing(task, kind, values)
            if (made := make()) is not None:
                return made
            if (tick := tick_of(values)) is not None:
                return use_existing(tick, SkipKind.MISFIRE, values)
            # Somebody has committed the one that we did not see yet.


def reserve_key(definition: PipelineDefinition, values: dict[str, Any]) -> Task | None:
    """Let the key stand for this request's task, whichever that will be; or the task that it stands for already."""
    while not sql.fetch(sql.PROMISE, values):
        if (holder := holder_of(definition, values)) is not None:
            return holder
    # It is ours until the transaction ends, so ENQUEUE may write it once more.
    values["force"] = True
    return None


def join(definition: PipelineDefinition, values: dict[str, Any]) -> tuple[Task, SkipKind] | None:
    """The task that stands in for a request, and why; None when a new one has to be made."""
    policies = definition.policies
    if policies.singleton is not None and policies.singleton.mode == "cancel":
        replace(values)
        return None
    if policies.singleton is not None:
        under_way = list(Task.objects.filter(unique_singleton=f"{values['pipeline']} {values['singleton_key']}"))
        return (under_way[0], SkipKind.SINGLETON) if under_way else None
    if policies.debounce is not None:
        rows = sql.fetch(sql.DEBOUNCE, {**values, "longest": policies.debounce.longest})
        if rows and policies.cancel_on:
            renew_cancels(definition, rows[0][0], values["payload"], codec.read(values["labels"]))
    elif policies.batch is not None:
        most = {"size": policies.batch.size, "most_bytes": settings().PAYLOAD_MAX_BYTES}
        rows = sql.fetch(sql.ADD_TO_BATCH, {**values, **most})
    else:
        return None
    if not rows:
        return None
    task, has_joined, is_due = rows[0]
    if is_due:
        notify_on_commit()
    kind = SkipKind.DEBOUNCED if policies.debounce is not None else SkipKind.BATCHED
    return (Task.objects.get(pk=task), kind) if has_joined else None


def replace(values: Mapping[str, Any]) -> None:
    """Cancel the older task of a singleton, with all that is below it.

    Whoever finishes it at this moment holds its row: it is waited for, and left alone when it has ended.
    """
    older = Task.objects.filter(unique_singleton=f"{values['pipeline']} {values['singleton_key']}").values_list(
        "pk", flat=True
    )
    _cancelled, untold = cancel_all(list(older), reason=f"Task {values['id']} took its place.")
    if untold:
        notify_on_commit()  # the next look of a dispatcher notifies of their ends


def use_existing(task: Task, kind: SkipKind, values: Mapping[str, Any]) -> Task:
    """Write down that this task stands in for a request, and return it."""
    Skip.objects.create(
        pipeline_id=values["pipeline"],
        kind=kind,
        reason=REASONS[kind].format(task=task.pk),
        key=values["key"],
        task=task,
        event_id=values["event"],
    )
    task.duplicate = True
    return task


def taken(definition: PipelineDefinition, values: Mapping[str, Any]) -> Task | None:
    """The task that a request's key or its tick of the clock stands for already; that it does is written down.

    Raises:
        KeyReused
    """
    if values["key"] and (holder := holder_of(definition, values)) is not None:
        return use_existing(holder, SkipKind.DUPLICATE, values)
    tick = tick_of(values)
    return None if tick is None else use_existing(tick, SkipKind.MISFIRE, values)


def holder_of(definition: PipelineDefinition, values: Mapping[str, Any]) -> Task | None:
    """The task that a request's key stands for at present.

    Raises:
        KeyReused: it was made from another payload.
    """
    keys = IdempotencyKey.objects.select_related("task")
    held = keys.filter(pipeline=values["pipeline"], key=values["key"]).first()
    if held is None:
        return None
    if held.payload_digest not in ("", values["payload_digest"]) and not is_payload_of(definition, held.task, values):
        raise KeyReused(
            f"The key {values['key']!r} stands for task {held.task_id}, which was made from another payload. Use "
            "another key, or force a new task.",
            task=held.task_id,
        )
    return held.task


def is_payload_of(definition: PipelineDefinition, task: Task, values: Mapping[str, Any]) -> bool:
    """Whether a request repeats a task's payload in other words: defaults written out, a set in another order.

    A task that gathers requests has not the payload of one of them.
    """
    if values["debounce_key"]:
        return False
    return definition.payload.are_equal(codec.write(task.payload), values["payload"])


def tick_of(values: Mapping[str, Any]) -> Task | None:
    """The task that was made for the same tick of the clock."""
    if values["cron_at"] is None:
        return None
    return next(iter(Task.objects.filter(pipeline=values["pipeline"], cron_at=values["cron_at"])), None)


def is_shared(values: Mapping[str, Any]) -> bool:
    """Whether another task may stand in for a request, its key apart."""
    return bool(values["singleton_key"] or values["debounce_key"])


def sharing(definition: PipelineDefinition, payload: str, options: Options, origin: Origin) -> dict[str, Any]:
    """What decides whether a request shares a task with others: its keys, and how long it waits for them.

    A parallel step runs for its task and a child for its parent: neither waits for others, and a parallel step
    is no task of its own.
    For a child another task may still stand in, by its key or as the singleton under way: who makes it for its parent
    sees `duplicate`.

    Raises:
        InvalidOptions: it gathers requests, and this one wants a time of its own.
    """
    policies = definition.policies
    found: dict[str, Any] = {
        "debounce_key": "",
        "singleton_key": "",
        "delay": timedelta(0),
        "field": field_of(definition),
    }
    if origin.parallel_step:
        return found
    if policies.singleton is not None:
        found["singleton_key"] = "=" + key_of(policies.singleton.template, definition, payload, options)
    gathering = policies.debounce or policies.batch
    if gathering is None or origin.parent is not None:
        return found
    if options.run_at is not None:
        sentence = (
            f"Pipeline {definition.name!r} gathers requests and says itself when they are due; leave the time out."
        )
        raise InvalidOptions(sentence, [FieldError("/run_at", sentence)])
    if policies.batch is not None and len(codec.read(payload)[found["field"]]) >= policies.batch.size:
        return found
    return {
        **found,
        "debounce_key": "=" + key_of(gathering.template, definition, payload, options),
        "delay": gathering.wait,
    }


def key_of(template: KeyTemplate | None, definition: PipelineDefinition, payload: str, options: Options) -> str:
    """The value of a key for a request; of a batch, its fields are looked up in the request's first item too."""
    if template is None:
        return ""
    values = codec.read(payload)
    if definition.policies.batch is not None:
        first = next(iter(values[field_of(definition)]), None)
        values = {**first, **values} if isinstance(first, dict) else values
    return template.render(values, options.labels)


def field_of(definition: PipelineDefinition) -> str:
    """The parameter in which a batch is gathered; empty without one."""
    return next(iter(definition.payload.signature.parameters)) if definition.policies.batch is not None else ""


def payload_of_event(definition: PipelineDefinition, data: Any) -> Any:
    """The payload with which an event of this data starts a pipeline, before it is checked.

    A sole model takes the data as it is, a batch takes it as one item, and any other function the fields that are
    called like its parameters.
    """
    if definition.policies.batch is not None:
        return {field_of(definition): [data]}
    if definition.payload.whole or not isinstance(data, dict):
        return data
    return {name: value for name, value in data.items() if name in definition.payload.signature.parameters}


@contextmanager
def one_of_singleton() -> Iterator[None]:
    """Around a transaction that lets an ended task go on.

    Raises:
        NotRetryable: another task of the same singleton is under way.
    """
    try:
        yield
    except IntegrityError as error:
        diagnosis = getattr(error.__cause__, "diag", None)
        if getattr(diagnosis, "constraint_name", None) != SINGLETON_ONCE:
            raise
        raise NotRetryable(
            "Another task of the same singleton is under way. Wait for its end, or cancel it first."
        ) from error
