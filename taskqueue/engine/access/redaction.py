"""Sights: a task's values as its viewer may see them. Whole, with its secrets masked, or not at all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from copy import copy
from typing import Any, Final

from taskqueue import masks
from taskqueue.definitions import registry
from taskqueue.engine.access.permissions import Rights, Visibility
from taskqueue.masks import MASK, Schema
from taskqueue.models import Attempt, Event, Pipeline, Step, Task
from taskqueue.states import TOLD_AS, StepKind

Schemas = tuple[Sequence[Schema], Sequence[Schema]]
"""What tells the secrets of something that was given, and of what came of it."""

TOLD: Final = ("payload", "result", "error")
"""Of what a task was given and made, what the event of its end says."""
UNKNOWN: Final[Sequence[Schema]] = (masks.ALL_SECRET,)
CALLED: Final = (StepKind.STEP, StepKind.PARALLEL)
"""What is given arguments by a body. What is said of sleeps and events is there to be looked at."""


def cover(task: Task, rights: Rights) -> None:
    """Change a task that was read by `queries.whole` to what its viewer may see. It must not be saved afterwards."""
    steps = task.recorded_steps  # type: ignore[attr-defined]  # attached by queries.whole
    attempts = [attempt for step in steps for attempt in step.failed_attempts]
    attempts += task.other_attempts  # type: ignore[attr-defined]  # the same
    cover_rows(task, steps, attempts, rights.visibility(task.pipeline_id))
    close_children(task, steps, rights)


def close_children(task: Task, steps: Iterable[Step], rights: Rights) -> None:
    """Leave nothing of what children of closed pipelines were given and made, nor of what drift says of them."""
    closed = [step for step in steps if is_closed(step, rights)]
    for step in closed:
        close(step)
    task.drift = without(task.drift, {step.key for step in closed})


def is_closed(step: Step, rights: Rights) -> bool:
    """Whether a step is a child whose pipeline's rights name others."""
    return step.kind == StepKind.CHILD and rights.visibility(step.name) == Visibility.NONE


def close(step: Step) -> None:
    """Leave nothing of what a step was given and returned."""
    step.input = None if step.input is None else MASK
    step.output = None if step.output is None else MASK


def cover_rows(task: Task, steps: Sequence[Step], attempts: Sequence[Attempt], visibility: Visibility) -> list[str]:
    """The same for a task, its steps and its attempts, however they were read; the secrets that were looked for."""
    if visibility == Visibility.REDACTED:
        return mask(task, steps, attempts)
    if visibility == Visibility.NONE:
        withhold(task, steps, attempts)
    return []


def cover_stand_in(task: Task, *, key: str) -> None:
    """Change a task that stands in for a request with this key to what somebody may know who sees no tasks."""
    task.key, task.labels, task.error, task.progress_note, task.rerun_of_id = key, {}, None, "", None


def without_secrets(task: Task) -> Task:
    """A copy of a task, to be told of, in which its secrets are masked for everybody."""
    told = copy(task)
    mask(told, [], [])
    return told


def cover_event(event: Event, rights: Rights) -> None:
    """Change an event that tells the end of a task to what its viewer may see of that task. It must not be saved."""
    pipeline, _dot, ending = event.name.rpartition(".")
    data = event.data
    if ending not in TOLD_AS.values() or not isinstance(data, dict) or data.get("pipeline") != pipeline:
        return
    told = Task(pipeline_id=pipeline, **{name: data.get(name) for name in TOLD})
    cover_rows(told, [], [], rights.visibility(pipeline))
    event.data = {**data, **{name: getattr(told, name) for name in TOLD if name in data}}


def withhold(task: Task, steps: Sequence[Step], attempts: Sequence[Attempt]) -> None:
    """Leave nothing of what the task was given and made, and of what was logged on the way."""
    task.payload = MASK
    task.result = None if task.result is None else MASK
    task.drift = without(task.drift, {note["key"] for note in task.drift or []})
    for step in steps:
        close(step)
        step.logs = unsaid(step.logs)
    for attempt in attempts:
        attempt.logs = unsaid(attempt.logs)


def without(drift: list[dict[str, Any]] | None, keys: Collection[str]) -> list[dict[str, Any]] | None:
    """Notes of drift that leave open in what the calls of these keys differ."""
    return drift and [
        {**note, "recorded": MASK, "now": note["now"] and MASK} if note["key"] in keys else note for note in drift
    ]


def unsaid(kept: dict[str, Any] | None) -> dict[str, Any] | None:
    """A log of which can be seen when something was said, and nothing else."""
    return kept and {**kept, "lines": [[*line[:-1], MASK] for line in kept["lines"]]}


def mask(task: Task, steps: Sequence[Step], attempts: Sequence[Attempt]) -> list[str]:
    """Mask what is marked as secret, and the same texts wherever else they come up in this task; these texts."""
    payload, result = schemas_of(task.pipeline_id)
    values: list[tuple[Task | Step, str, Sequence[Schema]]]
    values = [(task, "payload", payload), (task, "result", result)]
    known = schemas_of_steps(steps)
    for step in steps:
        given, made = known[step.kind, step.name]
        values += [(step, "input", given), (step, "output", made)]
    secrets = [
        secret
        for row, name, schemas in values
        if schemas is not UNKNOWN
        for secret in masks.secrets_in(getattr(row, name), *schemas)
    ]
    for row, name, schemas in values:
        setattr(row, name, masks.hidden(masks.masked(getattr(row, name), *schemas), secrets))
    told = {step.key for step in steps if known[step.kind, step.name][0] is not UNKNOWN}
    task.drift = without(task.drift, {note["key"] for note in task.drift or []} - told - {""})
    for row, names in said_in(task, steps, attempts):
        for name in names:
            setattr(row, name, masks.hidden(getattr(row, name), secrets))
    return secrets


def said_in(task: Task, steps: Sequence[Step], attempts: Sequence[Attempt]) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Where a secret may come up again: what errors, notes and drift say."""
    yield task, ("error", "drift", "progress_note", "cancel_reason")
    yield from ((step, ("error", "logs")) for step in steps)
    yield from ((attempt, ("error_message", "traceback", "logs")) for attempt in attempts)


def is_whole(task: Task, visibility: Visibility) -> bool:
    """Whether a viewer sees all of a task's payload."""
    if visibility == Visibility.REDACTED:
        return bool(masks.masked(task.payload, *schemas_of(task.pipeline_id)[0]) == task.payload)
    return visibility == Visibility.FULL


def has_marks(task: Task, steps: Iterable[Step]) -> bool:
    """Whether anything that this task or these steps were given or made may be secret."""
    found = (schemas_of(task.pipeline_id), *schemas_of_steps(steps).values())
    schemas = [schema for given, made in found for schema in (*given, *made)]
    return any(map(masks.marks_secrets, schemas))


def schemas_of(pipeline: str) -> Schemas:
    """The schemas of a pipeline's payload and result: the code's, or what was mirrored of code that is gone."""
    if pipeline in registry.by_name():
        definition = registry.get(pipeline)
        return definition.payload.marks, definition.result.marks
    mirrored = Pipeline.objects.filter(pk=pipeline).values_list("payload_schema", "result_schema").first()
    payload, result = mirrored or (masks.ALL_SECRET, masks.ALL_SECRET)
    return [payload], [result]


def schemas_of_steps(steps: Iterable[Step]) -> dict[tuple[str, str], Schemas]:
    """The schemas of what steps were given and returned, by their kinds and names."""
    return {(kind, name): step_schemas(kind, name) for kind, name in {(step.kind, step.name) for step in steps}}


def step_schemas(kind: str, name: str) -> Schemas:
    """The schemas of what a step may have been given and returned.

    Steps of different pipelines may have one name: what any of them marks is secret. Of a step that this code does not
    know everything is, at its place: if its texts were looked for elsewhere, little would be left to read.
    """
    if kind == StepKind.CHILD:
        return schemas_of(name)
    if kind not in CALLED:
        return (), ()
    steps = [step for step in registry.steps() if step.name == name]
    if not steps:
        return UNKNOWN, UNKNOWN
    given, made = ([step.arguments for step in steps], [step.result for step in steps])
    return [schema for each in given for schema in each.marks], [schema for each in made for schema in each.marks]
