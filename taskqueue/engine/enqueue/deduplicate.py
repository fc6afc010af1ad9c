"""Deduplicate requests: idempotency key, singleton, debounce, batch, and one task per scheduled run.

Two unique indexes allow one unfinished task per singleton and one collecting task per debounce key or batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError

from taskqueue.conf import settings
from taskqueue.context import current_request
from taskqueue.engine import sql
from taskqueue.engine.runtime.cancel_tree import cancel_with_descendants
from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.engine.runtime.waits import replace_cancel_events
from taskqueue.errors import FieldError, InvalidOptions, KeyReused, NotRetryable
from taskqueue.json_values import codec
from taskqueue.models import IdempotencyKey, Task
from taskqueue.states import SkipKind

if TYPE_CHECKING:
    from taskqueue.definitions import PipelineDefinition
    from taskqueue.engine.enqueue.options import Options, Origin
    from taskqueue.policies import KeyTemplate

SKIP_REASONS = {
    SkipKind.DUPLICATE: "The key already belongs to task {task}.",
    SkipKind.SINGLETON: "Task {task} is unfinished, and the singleton allows one at a time.",
    SkipKind.DEBOUNCED: "The request replaced the payload of task {task}, which waits out its debounce time.",
    SkipKind.BATCHED: "The items were added to task {task}, which collects a batch.",
    SkipKind.MISFIRE: "Task {task} already exists for this scheduled run.",
}
NOT_SHARED: Mapping[str, Any] = {"debounce_key": "", "singleton_key": "", "delay": timedelta(0), "field": ""}
"""What `shared_keys` returns for a task that no other request shares."""
SINGLETON_INDEX = "taskqueue_task_singleton_once"


def is_shared(values: Mapping[str, Any]) -> bool:
    """Whether the task is a singleton, debounced or batched, so that several requests may share it."""
    return bool(values["singleton_key"] or values["debounce_key"])


def reserve_key(definition: PipelineDefinition, values: Mapping[str, Any]) -> Task | None:
    """Reserve the idempotency key for this request; if it belongs to a task, return that task instead.

    Raises:
        KeyReused
    """
    while not sql.fetch(sql.RESERVE_KEY, values):
        if (existing := task_of_key(definition, values)) is not None:
            return use_existing(existing, SkipKind.DUPLICATE, values)
    return None


def join_shared_task(definition: PipelineDefinition, values: Mapping[str, Any]) -> Task | None:
    """Let the unfinished singleton, the debounced task or the collecting batch serve the request, if there is one."""
    if not is_shared(values):
        return None
    policies = definition.policies
    if policies.singleton is not None:
        task, kind = singleton_task(policies.singleton.mode, values), SkipKind.SINGLETON
    elif policies.debounce is not None:
        task, kind = debounced_task(definition, values), SkipKind.DEBOUNCED
    else:
        task, kind = batch_task(definition, values), SkipKind.BATCHED
    if task is None:
        return None
    IdempotencyKey.objects.filter(pipeline=values["pipeline"], key=values["key"]).update(task=task)
    return use_existing(task, kind, values)


def singleton_task(mode: str, values: Mapping[str, Any]) -> Task | None:
    """The singleton's unfinished task; in mode `cancel` it is cancelled, and the new one replaces it."""
    unfinished = Task.objects.filter(unique_singleton=f"{values['pipeline']} {values['singleton_key']}")
    if mode != "cancel":
        return next(iter(unfinished), None)
    # The cancel waits for a worker that is finishing the task just now, and leaves a finished task alone.
    _cancelled, pending = cancel_with_descendants(
        list(unfinished.values_list("pk", flat=True)), reason=f"Replaced by task {values['id']}."
    )
    if pending:
        notify_on_commit()  # the dispatcher's next round runs their completion handlers
    return None


def debounced_task(definition: PipelineDefinition, values: Mapping[str, Any]) -> Task | None:
    """Replace the payload of the debounced task that still waits."""
    debounce = definition.policies.debounce
    rows = sql.fetch(sql.DEBOUNCE, {**values, "longest": debounce.longest if debounce is not None else None})
    if rows and definition.policies.cancel_on:
        replace_cancel_events(definition, rows[0][0], values["payload"], codec.read(values["labels"]))
    return joined_task(rows)


def batch_task(definition: PipelineDefinition, values: Mapping[str, Any]) -> Task | None:
    """Add the items to the collecting batch if they fit; else start that batch."""
    batch = definition.policies.batch
    limits = {"size": batch.size if batch is not None else None, "most_bytes": settings().PAYLOAD_MAX_BYTES}
    return joined_task(sql.fetch(sql.ADD_TO_BATCH, {**values, **limits}))


def joined_task(rows: list[tuple[Any, ...]]) -> Task | None:
    """The task of a row of DEBOUNCE or ADD_TO_BATCH, unless the request did not join it."""
    if not rows:
        return None
    task, has_joined, is_due = rows[0]
    if is_due:
        notify_on_commit()
    return Task.objects.get(pk=task) if has_joined else None


def find_duplicate(definition: PipelineDefinition, values: Mapping[str, Any]) -> Task | None:
    """The task of the same idempotency key or scheduled run.

    Raises:
        KeyReused
    """
    if values["key"] and (task := task_of_key(definition, values)) is not None:
        return use_existing(task, SkipKind.DUPLICATE, values)
    if values["cron_at"] is None:
        return None
    runs = Task.objects.filter(pipeline=values["pipeline"], cron_at=values["cron_at"])
    return next((use_existing(task, SkipKind.MISFIRE, values) for task in runs), None)


def use_existing(task: Task, kind: SkipKind, values: Mapping[str, Any]) -> Task:
    """Record a skip: this existing task serves the request."""
    reason = SKIP_REASONS[kind].format(task=task.pk)
    names = ("pipeline", "key", "event")
    skip = {"kind": kind, "reason": reason, "task": task.pk, **{name: values[name] for name in names}}
    sql.fetch(sql.RECORD_SKIP, skip)
    task.duplicate = True
    if (request := current_request.get()) is not None:
        request.tasks.append(task.pk)
    return task


def task_of_key(definition: PipelineDefinition, values: Mapping[str, Any]) -> Task | None:
    """The task that the request's idempotency key belongs to.

    Raises:
        KeyReused: that task was created with another payload.
    """
    rows = sql.fetch(sql.TASK_OF_KEY, {"pipeline": values["pipeline"], "key": values["key"]})
    if not rows:
        return None
    digest, *columns = rows[0]
    task: Task = sql.instance(Task, sql.EXISTING_COLUMNS, iter(columns))
    if digest not in ("", values["payload_digest"]) and not has_equal_payload(definition, task, values):
        raise KeyReused(
            f"The key {values['key']!r} belongs to task {task.pk}, which was created with another payload. Use "
            "another key, or force a new task.",
            task=task.pk,
        )
    return task


def has_equal_payload(definition: PipelineDefinition, task: Task, values: Mapping[str, Any]) -> bool:
    """Whether the payloads are equal although their JSON differs, such as by a default that one of them omits."""
    if values["debounce_key"]:
        return False  # a debounced or batched task holds the payload of several requests
    return definition.payload.are_equal(codec.write(task.payload), values["payload"])


def shared_keys(definition: PipelineDefinition, payload: str, options: Options, origin: Origin) -> Mapping[str, Any]:
    """The singleton key and the debounce key of a request, and the delay until its task starts.

    A child is never debounced or batched. It can be a duplicate by its key or as a singleton.

    Raises:
        InvalidOptions: the pipeline debounces or batches, and the request sets `run_at`.
    """
    policies = definition.policies
    collecting = policies.debounce or policies.batch
    if policies.singleton is None and collecting is None:
        return NOT_SHARED
    keys = {**NOT_SHARED, "field": batch_field(definition)}
    # "=" tells an empty key from no key.
    if policies.singleton is not None:
        keys["singleton_key"] = "=" + rendered_key(policies.singleton.template, definition, payload, options)
    if collecting is None or origin.parent is not None:
        return keys
    if options.run_at is not None:
        detail = f"Pipeline {definition.name!r} debounces or batches requests and sets their time itself; omit run_at."
        raise InvalidOptions(detail, [FieldError("/run_at", detail)])
    if policies.batch is not None and len(codec.read(payload)[keys["field"]]) >= policies.batch.size:
        return keys  # a full batch starts at once
    key = "=" + rendered_key(collecting.template, definition, payload, options)
    return {**keys, "debounce_key": key, "delay": collecting.wait}


def rendered_key(template: KeyTemplate | None, definition: PipelineDefinition, payload: str, options: Options) -> str:
    """The value of a key template for a request; in a batch, the fields of its first item count too."""
    if template is None:
        return ""
    values = codec.read(payload)
    if definition.policies.batch is not None:
        first = next(iter(values[batch_field(definition)]), None)
        values = {**first, **values} if isinstance(first, dict) else values
    return template.render(values, options.labels)


def batch_field(definition: PipelineDefinition) -> str:
    """The parameter that takes the items of a batch; empty if the pipeline does not batch."""
    return next(iter(definition.payload.signature.parameters)) if definition.policies.batch is not None else ""


def payload_of_event(definition: PipelineDefinition, data: Any) -> Any:
    """The unchecked payload with which an event starts a pipeline.

    A single payload model takes the data whole, a batch takes it as one item, and any other function takes the fields
    named like its parameters.
    """
    if definition.policies.batch is not None:
        return {batch_field(definition): [data]}
    if definition.payload.whole or not isinstance(data, dict):
        return data
    return {name: value for name, value in data.items() if name in definition.payload.signature.parameters}


@contextmanager
def singleton_check() -> Iterator[None]:
    """Around a transaction that queues a finished task again.

    Raises:
        NotRetryable: another task of the singleton is unfinished.
    """
    try:
        yield
    except IntegrityError as error:
        diagnosis = getattr(error.__cause__, "diag", None)
        if getattr(diagnosis, "constraint_name", None) != SINGLETON_INDEX:
            raise
        raise NotRetryable(
            "Another task of the same singleton is unfinished. Wait until it ends, or cancel it first."
        ) from error
