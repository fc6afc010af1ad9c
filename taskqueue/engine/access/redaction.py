"""Redaction: a task's values as its viewer may see them: all of them, all but the secrets, or none."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from copy import copy
from typing import Any, Final

from taskqueue import masks
from taskqueue.definitions import registry
from taskqueue.engine.access.permissions import CallerPermissions, Visibility
from taskqueue.masks import MASK, Schema
from taskqueue.models import Attempt, Event, Pipeline, Step, Task
from taskqueue.states import EVENT_SUFFIXES, StepKind

Schemas = tuple[Sequence[Schema], Sequence[Schema]]
"""The schemas that mark the secrets of an input, and of an output."""

COMPLETION_EVENT_FIELDS: Final = ("payload", "result", "error")
"""The task's values that its completion event carries."""
UNKNOWN: Final[Sequence[Schema]] = (masks.ALL_SECRET,)
CALLED: Final = (StepKind.STEP, StepKind.PARALLEL)
"""Kinds whose input is arguments from the body. The inputs of sleeps and waits describe them, and hold no secrets."""


def redact_task(task: Task, caller: CallerPermissions) -> None:
    """Reduce a task that `queries.whole` has read to what its viewer may see. It must not be saved afterwards."""
    steps = task.recorded_steps  # type: ignore[attr-defined]  # attached by queries.whole
    attempts = [attempt for step in steps for attempt in step.failed_attempts]
    attempts += task.other_attempts  # type: ignore[attr-defined]  # as above
    redact_rows(task, steps, attempts, caller.visibility(task.pipeline_id))
    redact_children(task, steps, caller)


def redact_children(task: Task, steps: Iterable[Step], caller: CallerPermissions) -> None:
    """Remove the values of children whose pipelines are denied to the viewer, from their steps and from the drift."""
    hidden = [step for step in steps if is_hidden_child(step, caller)]
    for step in hidden:
        remove_step_values(step)
    task.drift = redact_drift(task.drift, {step.key for step in hidden})


def is_hidden_child(step: Step, caller: CallerPermissions) -> bool:
    return step.kind == StepKind.CHILD and caller.visibility(step.name) == Visibility.NONE


def remove_step_values(step: Step) -> None:
    step.input = None if step.input is None else MASK
    step.output = None if step.output is None else MASK


def redact_rows(task: Task, steps: Sequence[Step], attempts: Sequence[Attempt], visibility: Visibility) -> list[str]:
    """Reduce a task, its steps and its attempts to what a viewer may see. Returns the secrets that were masked."""
    if visibility == Visibility.REDACTED:
        return mask_secrets(task, steps, attempts)
    if visibility == Visibility.NONE:
        remove_values(task, steps, attempts)
    return []


def redact_existing_task(task: Task, *, key: str) -> None:
    """Reduce the task that a request with this key has found, for a caller who may not view tasks."""
    task.key, task.labels, task.error, task.progress_note, task.rerun_of_id = key, {}, None, "", None
    task.callback_url = ""  # it may have a secret of the caller that set it


def copy_without_secrets(task: Task) -> Task:
    """A copy of a task, for its completion event, in which the secrets are masked."""
    redacted = copy(task)
    mask_secrets(redacted, [], [])
    return redacted


def redact_event(event: Event, caller: CallerPermissions) -> None:
    """Reduce a completion event to what its viewer may see of the task. It must not be saved afterwards."""
    pipeline, _dot, ending = event.name.rpartition(".")
    data = event.data
    if ending not in EVENT_SUFFIXES.values() or not isinstance(data, dict) or data.get("pipeline") != pipeline:
        return
    task = Task(pipeline_id=pipeline, **{name: data.get(name) for name in COMPLETION_EVENT_FIELDS})
    redact_rows(task, [], [], caller.visibility(pipeline))
    event.data = {**data, **{name: getattr(task, name) for name in COMPLETION_EVENT_FIELDS if name in data}}


def remove_values(task: Task, steps: Sequence[Step], attempts: Sequence[Attempt]) -> None:
    task.payload = MASK
    task.result = None if task.result is None else MASK
    task.drift = redact_drift(task.drift, {note["key"] for note in task.drift or []})
    for step in steps:
        remove_step_values(step)
        step.logs = without_lines(step.logs)
    for attempt in attempts:
        attempt.logs = without_lines(attempt.logs)


def redact_drift(drift: list[dict[str, Any]] | None, keys: Collection[str]) -> list[dict[str, Any]] | None:
    """Notes of drift without the arguments of these steps."""
    return drift and [
        {**note, "recorded": MASK, "now": note["now"] and MASK} if note["key"] in keys else note for note in drift
    ]


def without_lines(logs: dict[str, Any] | None) -> dict[str, Any] | None:
    """A log without its texts: times, levels and loggers stay."""
    return logs and {**logs, "lines": [[*line[:-1], MASK] for line in logs["lines"]]}


def mask_secrets(task: Task, steps: Sequence[Step], attempts: Sequence[Attempt]) -> list[str]:
    """Mask the values that are marked as secret, and their texts wherever else the task has them. Returns the texts."""
    payload, result = schemas_of(task.pipeline_id)
    values: list[tuple[Task | Step, str, Sequence[Schema]]]
    values = [(task, "payload", payload), (task, "result", result)]
    step_schemas = schemas_of_steps(steps)
    for step in steps:
        inputs, outputs = step_schemas[step.kind, step.name]
        values += [(step, "input", inputs), (step, "output", outputs)]
    secrets = [
        secret
        for row, name, schemas in values
        if schemas is not UNKNOWN
        for secret in masks.secrets_in(getattr(row, name), *schemas)
    ]
    for row, name, schemas in values:
        setattr(row, name, masks.hidden(masks.masked(getattr(row, name), *schemas), secrets))
    known = {step.key for step in steps if step_schemas[step.kind, step.name][0] is not UNKNOWN}
    task.drift = redact_drift(task.drift, {note["key"] for note in task.drift or []} - known - {""})
    for row, names in text_fields(task, steps, attempts):
        for name in names:
            setattr(row, name, masks.hidden(getattr(row, name), secrets))
    return secrets


def text_fields(
    task: Task, steps: Sequence[Step], attempts: Sequence[Attempt]
) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """The fields of errors, notes and logs, in which a secret may be repeated."""
    yield task, ("error", "drift", "progress_note", "cancel_reason")
    yield from ((step, ("error", "logs")) for step in steps)
    yield from ((attempt, ("error_message", "traceback", "logs")) for attempt in attempts)


def is_payload_visible(task: Task, visibility: Visibility) -> bool:
    if visibility == Visibility.REDACTED:
        return bool(masks.masked(task.payload, *schemas_of(task.pipeline_id)[0]) == task.payload)
    return visibility == Visibility.FULL


def has_secrets(task: Task, steps: Iterable[Step]) -> bool:
    found = (schemas_of(task.pipeline_id), *schemas_of_steps(steps).values())
    schemas = [schema for inputs, outputs in found for schema in (*inputs, *outputs)]
    return any(map(masks.marks_secrets, schemas))


def schemas_of(pipeline: str) -> Schemas:
    """The schemas of a pipeline's payload and result: the code's, or for removed code the ones in its row."""
    if pipeline in registry.by_name():
        definition = registry.get(pipeline)
        return definition.payload.secret_schemas, definition.result.secret_schemas
    row = Pipeline.objects.filter(pk=pipeline).values_list("payload_schema", "result_schema").first()
    payload, result = row or (masks.ALL_SECRET, masks.ALL_SECRET)
    return [payload], [result]


def schemas_of_steps(steps: Iterable[Step]) -> dict[tuple[str, str], Schemas]:
    return {(kind, name): schemas_of_step(kind, name) for kind, name in {(step.kind, step.name) for step in steps}}


def schemas_of_step(kind: str, name: str) -> Schemas:
    """The schemas of a step's input and output.

    Steps of different pipelines may have one name: what any of them marks is secret. All values of a step that the code
    does not know are secret, but their texts are not searched for elsewhere: little would be left to read.
    """
    if kind == StepKind.CHILD:
        return schemas_of(name)
    if kind not in CALLED:
        return (), ()
    steps = [step for step in registry.steps() if step.name == name]
    if not steps:
        return UNKNOWN, UNKNOWN
    inputs = [schema for step in steps for schema in step.arguments.secret_schemas]
    outputs = [schema for step in steps for schema in step.result.secret_schemas]
    return inputs, outputs
