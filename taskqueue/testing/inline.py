"""Run a task to its end inside a test, without a worker process and without waiting."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload
from uuid import UUID

from django.db.models import Min
from django.db.models.functions import Now

from taskqueue.definitions import PipelineDefinition
from taskqueue.engine.queries.reasons import Code
from taskqueue.engine.queries.why import why
from taskqueue.models import Schedule, Task, Wait
from taskqueue.states import ON_A_TIMER
from taskqueue.testing import events
from taskqueue.testing.events import GivenEvent
from taskqueue.testing.runs import Run
from taskqueue.testing.time_travel import move_into_past
from taskqueue.testing.workers import InProcessWorker

if TYPE_CHECKING:
    from taskqueue.authoring import BoundPipeline

P = ParamSpec("P")
R = TypeVar("R")
MAX_PAUSES = 1_000
"""A task with more pauses counts as one that never ends."""

TICK = timedelta(milliseconds=1)


@overload
def run_inline(pipeline: BoundPipeline[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> Run[R]: ...
@overload
def run_inline(pipeline: BoundPipeline[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Run[R]: ...
@overload
def run_inline(
    pipeline: BoundPipeline[..., Coroutine[Any, Any, R]], /, *args: Any, events: Iterable[GivenEvent], **kwargs: Any
) -> Run[R]: ...
@overload
def run_inline(
    pipeline: BoundPipeline[..., R], /, *args: Any, events: Iterable[GivenEvent], **kwargs: Any
) -> Run[R]: ...


def run_inline(pipeline: Any, /, *args: Any, events: Iterable[GivenEvent] = (), **kwargs: Any) -> Run[Any]:  # type: ignore[misc]  # P may have events too
    """Create a task, run it to its end, and return its result and record.

    Sleeps, waits between attempts and rates pass at once. Children and parallel steps run too. Schedules stand still.
    A type checker does not check the arguments of a call with `events`, because a signature cannot express both.

    Args:
        pipeline: the pipeline, or one with options: `fulfil.using(key="a")`.
        args: the arguments of `enqueue`.
        events: pairs of name and data. Each is sent when the task waits for it, in this order. An event whose data is
            None does not come, and the wait for it times out.
        kwargs: the keyword arguments of `enqueue`.

    Returns:
        The run. For a failed task only its `result` raises an error.
    """
    definition: PipelineDefinition = pipeline.definition
    task: Task = pipeline.enqueue(*args, **kwargs)
    inline = InlineRun(definition, task.pk, list(events))
    with InProcessWorker() as worker:
        return inline.run(worker)


class WorkerLike(Protocol):
    """A worker, or several that take turns."""

    def work(self) -> object: ...


@dataclass
class InlineRun:
    """A task that is run to its end."""

    definition: PipelineDefinition
    task: UUID
    events: list[GivenEvent]
    slept: timedelta = field(default_factory=timedelta)

    def run(self, worker: WorkerLike) -> Run[Any]:
        """Work, and let pass what the task waits for, until it has ended or cannot continue."""
        for _ in range(MAX_PAUSES):
            worker.work()
            task = Task.objects.get(pk=self.task)
            if task.has_ended:
                worker.work()  # its completion handlers
                return self._outcome()
            if (stuck := self._continue()) is not None:
                return self._outcome(stuck)
        return self._outcome(f"It has not ended after {MAX_PAUSES:,} pauses.")

    def _continue(self) -> str | None:
        """Send the next event, or let the time until the next timer pass. Returns why neither is possible."""
        tasks = tasks_of(self.task)
        waits = list(events.open_waits(tasks))
        if (event := events.first_match(self.events, waits)) is not None:
            self.events.remove(event)
            events.send(*event)
            return None
        now, until = next_time(tasks)
        ending = events.waits_ending_by(until, waits)
        timed_out = {(wait.task_id, wait.step_key) for wait in ending if self._is_declared_missing(wait)}
        if missed := [wait for wait in ending if (wait.task_id, wait.step_key) not in timed_out]:
            return events.missing(missed, self.events)
        if until is None:
            reasons = why(self.task).reasons
            until = next((each.until for each in reasons if each.code == Code.THROTTLE), None)
            if until is None:
                return " ".join(reason.sentence for reason in reasons)
        pause = max(until - now, timedelta(0))
        move_into_past(pause + TICK, excluding=(Schedule,))
        self.slept += pause
        return None

    def _is_declared_missing(self, wait: Wait) -> bool:
        declared = (wait.event, None)
        if declared not in self.events:
            return False
        self.events.remove(declared)
        return True

    def _outcome(self, stuck: str = "") -> Run[Any]:
        task = Task.objects.select_related("worker").get(pk=self.task)
        return Run(self.definition, task, self.slept, tuple(self.events), stuck)


def tasks_of(task: UUID) -> list[UUID]:
    """A task with its children and parallel steps, and theirs."""
    tasks, newest = [task], [task]
    while newest:
        newest = list(Task.objects.filter(parent__in=newest, finished_at=None).values_list("pk", flat=True))
        tasks += newest
    return tasks


def next_time(tasks: list[UUID]) -> tuple[datetime, datetime | None]:
    """The present, and when the first of these tasks goes on by itself; None when none of them does."""
    now = Task.objects.filter(pk=tasks[0]).values_list(Now(), flat=True).get()
    timers = Task.objects.filter(pk__in=tasks, status__in=ON_A_TIMER)
    return now, timers.aggregate(first=Min("due_at"))["first"]
