"""Assertions about what was enqueued."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from taskqueue import codec
from taskqueue.definitions import PipelineDefinition, registry
from taskqueue.models import Task
from taskqueue.policies import matches

if TYPE_CHECKING:
    from taskqueue.authoring import Pipeline

UNSET: Final[Any] = object()
SHOWN = 20


def assert_enqueued(
    pipeline: Pipeline[..., Any] | str,
    *,
    payload: Any = UNSET,
    matching: Mapping[str, Any] | None = None,
    key: str | None = None,
    labels: Mapping[str, str] | None = None,
    times: int = 1,
) -> list[Task]:
    """Assert that tasks of a pipeline were made, whatever has become of them since.

    Args:
        pipeline: the pipeline, or its name.
        payload: the whole payload: its model, or a dict by the names of the parameters.
        matching: dotted paths in the payload, and the values that must be there.
        key: the idempotency key.
        labels: labels that it must have among its own.
        times: how many such tasks there must be.

    Returns:
        Those tasks, the oldest first.

    Raises:
        AssertionError: there are more or less of them; the message lists what was enqueued instead.
    """
    definition = definition_of(pipeline)
    wanted = Wanted(definition, payload, matching, key, labels)
    made = list(Task.objects.filter(parallel_step="").order_by("pk"))
    found = [task for task in made if wanted.fits(task)]
    if len(found) == times:
        return found
    others = [task for task in made if task not in found]
    others.sort(key=lambda task: task.pipeline_id != definition.name)
    counted = "once" if times == 1 else "never" if times == 0 else f"{times} times"
    raise AssertionError(
        f"{definition.name}{wanted} was enqueued {len(found)} time{'s' * (len(found) != 1)}, not {counted}.\n"
        + listed("As asked", found)
        + listed("Besides" if found else "Enqueued instead", others, empty="Nothing else was enqueued.")
    )


def assert_not_enqueued(
    pipeline: Pipeline[..., Any] | str,
    *,
    payload: Any = UNSET,
    matching: Mapping[str, Any] | None = None,
    key: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> None:
    """Assert that no such task was made; see `assert_enqueued`."""
    assert_enqueued(pipeline, payload=payload, matching=matching, key=key, labels=labels, times=0)


class Wanted:
    """What a task must be like."""

    def __init__(
        self,
        definition: PipelineDefinition,
        payload: Any,
        matching: Mapping[str, Any] | None,
        key: str | None,
        labels: Mapping[str, str] | None,
    ) -> None:
        self.definition = definition
        # As the pipeline itself would write it: a payload that could never be one is refused here.
        self.payload = UNSET if payload is UNSET else codec.read(definition.payload.check(payload))
        self.matching = dict(matching or {})
        self.key = key
        self.labels = dict(labels or {})

    def fits(self, task: Task) -> bool:
        """Whether a task is one of these."""
        return (
            task.pipeline_id == self.definition.name
            and (self.payload is UNSET or task.payload == self.payload)
            and matches(self.matching, task.payload)
            and (self.key is None or task.key == self.key)
            and self.labels.items() <= task.labels.items()
        )

    def __str__(self) -> str:
        """In the words of the message."""
        said = [] if self.payload is UNSET else [f"payload {shown(self.payload)}"]
        said += [f"{path} = {shown(value)}" for path, value in self.matching.items()]
        said += [] if self.key is None else [f"key {self.key!r}"]
        said += [f"label {name} = {value!r}" for name, value in self.labels.items()]
        return f" with {', '.join(said)}" if said else ""


def definition_of(pipeline: Pipeline[..., Any] | str) -> PipelineDefinition:
    """A pipeline's definition."""
    return registry.get(pipeline) if isinstance(pipeline, str) else pipeline.definition


def listed(title: str, tasks: list[Task], *, empty: str = "") -> str:
    """Tasks, one a line."""
    if not tasks:
        return empty
    lines = [f"  {line(task)}" for task in tasks[:SHOWN]]
    lines += [f"  and {len(tasks) - SHOWN:,} more"] * (len(tasks) > SHOWN)
    return "\n".join([f"{title}:", *lines]) + "\n"


def line(task: Task) -> str:
    """A task on one line."""
    facts = [task.pipeline_id, shown(task.payload)]
    facts += [f"key {task.key!r}"] * bool(task.key)
    facts += [f"labels {shown(task.labels)}"] * bool(task.labels)
    return " ".join(facts)


def shown(value: Any) -> str:
    """A JSON value for people, its names in order, so that two of them compare."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
