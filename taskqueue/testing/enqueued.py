"""Assertions about enqueued tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from taskqueue.definitions import PipelineDefinition, registry
from taskqueue.json_values import codec
from taskqueue.models import Task
from taskqueue.policies import matches

if TYPE_CHECKING:
    from taskqueue.authoring import Pipeline

UNSET: Final[Any] = object()
MAX_SHOWN = 20


def assert_enqueued(
    pipeline: Pipeline[..., Any] | str,
    *,
    payload: Any = UNSET,
    matching: Mapping[str, Any] | None = None,
    key: str | None = None,
    labels: Mapping[str, str] | None = None,
    times: int = 1,
) -> list[Task]:
    """Assert that tasks of a pipeline were created, whatever their status is now.

    Args:
        pipeline: the pipeline, or its name.
        payload: the whole payload: its model, or a dict by the names of the parameters.
        matching: dotted paths in the payload, and the values that they must have.
        key: the idempotency key.
        labels: labels that the task must have; it may have more.
        times: the number of such tasks.

    Returns:
        The matching tasks, oldest first.

    Raises:
        AssertionError: there are more or fewer such tasks; the message lists the tasks that were enqueued instead.
    """
    definition = registry.get(pipeline) if isinstance(pipeline, str) else pipeline.definition
    expected = ExpectedTask(definition, payload, matching, key, labels)
    tasks = list(Task.objects.filter(parallel_step="").order_by("pk"))
    found = [task for task in tasks if expected.matches(task)]
    if len(found) == times:
        return found
    others = [task for task in tasks if task not in found]
    others.sort(key=lambda task: task.pipeline_id != definition.name)
    number = "once" if times == 1 else "never" if times == 0 else f"{times} times"
    raise AssertionError(
        f"{definition.name}{expected} was enqueued {len(found)} time{'s' * (len(found) != 1)}, not {number}.\n"
        + listed("Matching", found)
        + listed("Others" if found else "Enqueued instead", others, empty="Nothing else was enqueued.")
    )


def assert_not_enqueued(
    pipeline: Pipeline[..., Any] | str,
    *,
    payload: Any = UNSET,
    matching: Mapping[str, Any] | None = None,
    key: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> None:
    """Assert that no such task was created; see `assert_enqueued`."""
    assert_enqueued(pipeline, payload=payload, matching=matching, key=key, labels=labels, times=0)


class ExpectedTask:
    def __init__(
        self,
        definition: PipelineDefinition,
        payload: Any,
        matching: Mapping[str, Any] | None,
        key: str | None,
        labels: Mapping[str, str] | None,
    ) -> None:
        self.definition = definition
        # In the pipeline's own form. This refuses a payload that the pipeline could never have.
        self.payload = UNSET if payload is UNSET else codec.read(definition.payload.check(payload))
        self.matching = dict(matching or {})
        self.key = key
        self.labels = dict(labels or {})

    def matches(self, task: Task) -> bool:
        return (
            task.pipeline_id == self.definition.name
            and (self.payload is UNSET or task.payload == self.payload)
            and matches(self.matching, task.payload)
            and (self.key is None or task.key == self.key)
            and self.labels.items() <= task.labels.items()
        )

    def __str__(self) -> str:
        parts = [] if self.payload is UNSET else [f"payload {as_json(self.payload)}"]
        parts += [f"{path} = {as_json(value)}" for path, value in self.matching.items()]
        parts += [] if self.key is None else [f"key {self.key!r}"]
        parts += [f"label {name} = {value!r}" for name, value in self.labels.items()]
        return f" with {', '.join(parts)}" if parts else ""


def listed(title: str, tasks: list[Task], *, empty: str = "") -> str:
    if not tasks:
        return empty
    lines = [f"  {line(task)}" for task in tasks[:MAX_SHOWN]]
    lines += [f"  and {len(tasks) - MAX_SHOWN:,} more"] * (len(tasks) > MAX_SHOWN)
    return "\n".join([f"{title}:", *lines]) + "\n"


def line(task: Task) -> str:
    parts = [task.pipeline_id, as_json(task.payload)]
    parts += [f"key {task.key!r}"] * bool(task.key)
    parts += [f"labels {as_json(task.labels)}"] * bool(task.labels)
    return " ".join(parts)


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
