"""Find the steps that a retry or a rerun runs again, and which of them are not atomic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Count, Min, QuerySet

from taskqueue.admin.task.steps import KIND_NAMES
from taskqueue.definitions import registry
from taskqueue.engine.tasks import control
from taskqueue.models import PipelineStep, Step, Task
from taskqueue.states import BulkOperationVerb, StepKind

WITHOUT_EFFECT = (StepKind.SLEEP, StepKind.WAIT)
"""Kinds of steps that may safely happen twice."""


@dataclass(frozen=True)
class RepeatedStep:
    """A step that runs again.

    Attributes:
        calls: recorded calls; 0 for a step that only the code names.
        is_atomic: its database writes and its checkpoint commit together.
    """

    name: str
    kind: str
    calls: int
    is_atomic: bool

    @property
    def kind_name(self) -> str:
        return KIND_NAMES.get(StepKind(self.kind), "")

    @property
    def is_unsafe(self) -> bool:
        """Whether its effects outside the database may happen twice."""
        return not self.is_atomic and self.kind not in WITHOUT_EFFECT


@dataclass(frozen=True)
class RepeatedSteps:
    """The steps that run again in tasks of one pipeline."""

    pipeline: str
    tasks: int
    steps: list[RepeatedStep]

    @property
    def calls(self) -> int:
        return sum(max(step.calls, 1) for step in self.steps)

    @property
    def unsafe(self) -> list[str]:
        return [step.name for step in self.steps if step.is_unsafe]


def of_retry(task: Task, from_step: str | None) -> RepeatedSteps:
    """The recorded steps that a retry runs again. Raises UnknownStep."""
    found = recorded(control.discarded_steps(task, from_step))
    return RepeatedSteps(task.pipeline_id, 1, found.get(task.pipeline_id, []))


def of_rerun(task: Task) -> RepeatedSteps:
    """The steps that a rerun runs again: the task's recorded ones, and the known ones of its pipeline."""
    return of_tasks(BulkOperationVerb.RERUN, [task.pk])[0]


def of_tasks(verb: BulkOperationVerb, tasks: Collection[UUID]) -> list[RepeatedSteps]:
    """The steps that a bulk action runs again, by pipeline. Tasks in the wrong status do not count."""
    eligible = Task.objects.filter(pk__in=tasks, parallel_step="")
    steps = Step.objects.filter(task__in=tasks)
    if verb == BulkOperationVerb.RETRY:
        eligible = eligible.filter(status__in=control.RETRYABLE)
        steps = steps.filter(task__status__in=control.RETRYABLE).exclude(status="succeeded")
    rows = eligible.values("pipeline_id").annotate(tasks=Count("pk")).order_by("pipeline_id")
    counts = dict(rows.values_list("pipeline_id", "tasks"))
    found = recorded(steps)
    if verb == BulkOperationVerb.RERUN:
        add_known(found, counts)
    return [RepeatedSteps(pipeline, number, found.get(pipeline, [])) for pipeline, number in counts.items()]


def recorded(steps: QuerySet[Step]) -> dict[str, list[RepeatedStep]]:
    """Recorded steps by pipeline, in the order of their first record."""
    grouped = steps.values("task__pipeline_id", "name", "kind").annotate(calls=Count("pk"), first=Min("pk"))
    rows: list[Any] = list(grouped.order_by("first"))
    atomic = atomic_names({row["task__pipeline_id"] for row in rows}, {row["name"] for row in rows})
    found: dict[str, list[RepeatedStep]] = defaultdict(list)
    for row in rows:
        pipeline, name = row["task__pipeline_id"], row["name"]
        is_step = row["kind"] in (StepKind.STEP, StepKind.PARALLEL)
        is_atomic = is_step and (pipeline, name) in atomic
        found[pipeline].append(RepeatedStep(name, row["kind"], row["calls"], is_atomic))
    return dict(found)


def add_known(found: dict[str, list[RepeatedStep]], pipelines: Iterable[str]) -> None:
    for step in PipelineStep.objects.filter(pipeline__in=list(pipelines)).order_by("position", "pk"):
        steps = found.setdefault(step.pipeline_id, [])
        if step.name not in {each.name for each in steps}:
            steps.append(RepeatedStep(step.name, StepKind.STEP, 0, step.atomic))


def atomic_names(pipelines: Collection[str], names: Collection[str]) -> set[tuple[str, str]]:
    """The atomic steps, by pipeline and name: by the synced definitions, else by the code of this process.

    A step that a function outside the pipeline calls is not synced. An unknown step counts as not atomic.
    """
    synced: Mapping[tuple[str, str], bool] = {
        (pipeline, name): atomic
        for pipeline, name, atomic in PipelineStep.objects.filter(pipeline__in=pipelines, name__in=names).values_list(
            "pipeline_id", "name", "atomic"
        )
    }
    by_name: dict[str, list[bool]] = defaultdict(list)
    for step in registry.steps():
        by_name[step.name].append(step.atomic)
    return {
        (pipeline, name)
        for pipeline in pipelines
        for name in names
        if synced.get((pipeline, name), bool(by_name.get(name)) and all(by_name[name]))
    }
