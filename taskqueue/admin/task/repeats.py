"""Which steps a retry or a rerun runs again, and which of these are not atomic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Count, Min, QuerySet

from taskqueue.admin.task.steps import KINDS
from taskqueue.definitions import registry
from taskqueue.engine.tasks import control
from taskqueue.models import PipelineStep, Step, Task
from taskqueue.states import BulkOperationVerb, StepKind

IDLE = (StepKind.SLEEP, StepKind.WAIT)
"""What does nothing that could happen twice."""


@dataclass(frozen=True)
class RepeatedStep:
    """A step that runs again.

    Attributes:
        calls: how many recorded calls of it; 0 when this task has recorded none.
        is_atomic: whether its writes and its checkpoint commit together.
    """

    name: str
    kind: str
    calls: int
    is_atomic: bool

    @property
    def kind_word(self) -> str:
        """What it is, if not a plain step."""
        return KINDS.get(StepKind(self.kind), "")

    @property
    def is_unsafe(self) -> bool:
        """Whether what it did outside the database may happen a second time."""
        return not self.is_atomic and self.kind not in IDLE


@dataclass(frozen=True)
class Repetition:
    """What runs again of one pipeline's tasks."""

    pipeline: str
    tasks: int
    steps: list[RepeatedStep]

    @property
    def calls(self) -> int:
        """How many steps are known to run again."""
        return sum(max(step.calls, 1) for step in self.steps)

    @property
    def unsafe(self) -> list[str]:
        """The names of those that are not atomic."""
        return [step.name for step in self.steps if step.is_unsafe]


def of_retry(task: Task, from_step: str | None) -> Repetition:
    """What a retry runs again: the recorded steps that it forgets.

    Raises:
        UnknownStep
    """
    found = recorded(control.forgotten(task, from_step))
    return Repetition(task.pipeline_id, 1, found.get(task.pipeline_id, []))


def of_rerun(task: Task) -> Repetition:
    """What a rerun runs again: all that the task has recorded, and all that its pipeline is known to call."""
    return of_tasks(BulkOperationVerb.RERUN, [task.pk])[0]


def of_tasks(verb: BulkOperationVerb, tasks: Collection[UUID]) -> list[Repetition]:
    """What a verb runs again of several tasks, by pipeline; of those alone to which it can be done."""
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
    return [Repetition(pipeline, number, found.get(pipeline, [])) for pipeline, number in counts.items()]


def recorded(steps: QuerySet[Step]) -> dict[str, list[RepeatedStep]]:
    """Recorded steps by their pipelines, in the order in which they were recorded first."""
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
    """Add what the code of these pipelines is known to call and no task of them has recorded."""
    for step in PipelineStep.objects.filter(pipeline__in=list(pipelines)).order_by("position", "pk"):
        steps = found.setdefault(step.pipeline_id, [])
        if step.name not in {each.name for each in steps}:
            steps.append(RepeatedStep(step.name, StepKind.STEP, 0, step.atomic))


def atomic_names(pipelines: Collection[str], names: Collection[str]) -> set[tuple[str, str]]:
    """The steps that are atomic, by pipeline and name: as the code was mirrored, else as this process knows it.

    A step that only a helper of the body calls is not mirrored, and one that nobody knows is not taken for atomic.
    """
    mirrored: Mapping[tuple[str, str], bool] = {
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
        if mirrored.get((pipeline, name), bool(by_name.get(name)) and all(by_name[name]))
    }
