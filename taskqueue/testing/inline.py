"""Running a task to its end inside a test: no worker, no waiting, the same engine."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast, overload
from uuid import UUID

from django.db.models import Min
from django.db.models.functions import Now

from taskqueue.definitions import PipelineDefinition
from taskqueue.engine.queries.reasons import Code
from taskqueue.engine.queries.why import why
from taskqueue.models import Schedule, Task, Wait
from taskqueue.states import ON_A_TIMER
from taskqueue.testing import events
from taskqueue.testing.clock import let_pass
from taskqueue.testing.events import Given
from taskqueue.testing.runs import Run
from taskqueue.testing.workers import InProcessWorker

if TYPE_CHECKING:
    from taskqueue.authoring import BoundPipeline, Pipeline

P = ParamSpec("P")
R = TypeVar("R")
MOST_PAUSES = 1_000
"""A task that pauses more often in a test is taken for one that never ends."""

MOMENT = timedelta(milliseconds=1)


class RunsInline(Protocol):
    """The types of `run_inline`. With events the arguments are not checked: a signature cannot say both."""

    @overload
    def __call__(
        self,
        pipeline: Pipeline[P, Coroutine[Any, Any, R]] | BoundPipeline[P, Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Run[R]: ...

    @overload
    def __call__(
        self, pipeline: Pipeline[P, R] | BoundPipeline[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Run[R]: ...

    @overload
    def __call__(
        self,
        pipeline: Pipeline[..., Coroutine[Any, Any, R]] | BoundPipeline[..., Coroutine[Any, Any, R]],
        /,
        *args: Any,
        events: Iterable[tuple[str, Mapping[str, Any] | None]],
        **kwargs: Any,
    ) -> Run[R]: ...

    @overload
    def __call__(
        self,
        pipeline: Pipeline[..., R] | BoundPipeline[..., R],
        /,
        *args: Any,
        events: Iterable[tuple[str, Mapping[str, Any] | None]],
        **kwargs: Any,
    ) -> Run[R]: ...

    def __call__(self, pipeline: Any, /, *args: Any, **kwargs: Any) -> Run[Any]:
        """See `run_inline`."""
        ...


def run(pipeline: Any, /, *args: Any, events: Iterable[Given] = (), **kwargs: Any) -> Run[Any]:
    """Make a task, run it to its end, and tell what became of it.

    Time passes at once: through sleeps, waits between tries, rates. Children and parallel steps run too. The clocks of
    pipelines with `cron` stand still meanwhile.

    Args:
        pipeline: the pipeline, or one with options: `fulfil.using(key="a")`.
        args: what it is enqueued with.
        events: pairs of name and data, each sent when the task waits for it, in this order. With None for its data an
            event does not come, and the wait for it runs out of time.
        kwargs: the same as `args`, by name.

    Returns:
        What became of it. Nothing is raised when it failed, unless its `result` is asked for.
    """
    definition: PipelineDefinition = pipeline.definition
    task: Task = pipeline.enqueue(*args, **kwargs)
    play = Play(definition, task.pk, list(events))
    with InProcessWorker() as worker:
        return play.to_the_end(worker)


run_inline = cast("RunsInline", run)


class Works(Protocol):
    """A worker, or several who take turns."""

    def work(self) -> object:
        """Execute everything that is due."""
        ...


@dataclass
class Play:
    """A task on its way to its end."""

    definition: PipelineDefinition
    task: UUID
    given: list[Given]
    slept: timedelta = field(default_factory=timedelta)

    def to_the_end(self, worker: Works) -> Run[Any]:
        """Work, and let happen what the task waits for, until it has ended or nothing more can happen."""
        for _ in range(MOST_PAUSES):
            worker.work()
            task = Task.objects.get(pk=self.task)
            if task.has_ended:
                worker.work()  # what follows upon its end
                return self.outcome()
            if (stuck := self.go_on()) is not None:
                return self.outcome(stuck)
        return self.outcome(f"It has not ended after {MOST_PAUSES:,} pauses.")

    def go_on(self) -> str | None:
        """Let the next thing happen; why nothing can when it cannot."""
        family = family_of(self.task)
        waits = list(events.open_waits(family))
        if (event := events.first_that_fits(self.given, waits)) is not None:
            self.given.remove(event)
            events.send(*event)
            return None
        now, until = next_time(family)
        ending = events.ending_by(until, waits)
        excused = {(wait.task_id, wait.step_key) for wait in ending if self.is_not_to_come(wait)}
        if missed := [wait for wait in ending if (wait.task_id, wait.step_key) not in excused]:
            return events.missing(missed, self.given)
        until = until or self.free_at()
        if until is None:
            return " ".join(reason.sentence for reason in why(self.task).reasons)
        wait = max(until - now, timedelta(0))
        let_pass(wait + MOMENT, leaving=(Schedule,))
        self.slept += wait
        return None

    def is_not_to_come(self, wait: Wait) -> bool:
        """Whether it was said that an event does not come; said once, it is true for one wait."""
        said = (wait.event, None)
        if said not in self.given:
            return False
        self.given.remove(said)
        return True

    def free_at(self) -> datetime | None:
        """When a start that is held back may be given its time."""
        reasons = why(self.task).reasons
        return next((each.until for each in reasons if each.code == Code.THROTTLE and each.until is not None), None)

    def outcome(self, stuck: str = "") -> Run[Any]:
        """What became of it."""
        task = Task.objects.select_related("worker").get(pk=self.task)
        return Run(self.definition, task, self.slept, tuple(self.given), stuck)


def family_of(task: UUID) -> list[UUID]:
    """A task with its children and parallel steps, and theirs."""
    family, newest = [task], [task]
    while newest:
        newest = list(Task.objects.filter(parent__in=newest, finished_at=None).values_list("pk", flat=True))
        family += newest
    return family


def next_time(family: list[UUID]) -> tuple[datetime, datetime | None]:
    """The present, and when the first of these tasks goes on by itself; None when none of them does."""
    now = Task.objects.filter(pk=family[0]).values_list(Now(), flat=True).get()
    timers = Task.objects.filter(pk__in=family, status__in=ON_A_TIMER)
    return now, timers.aggregate(first=Min("due_at"))["first"]
