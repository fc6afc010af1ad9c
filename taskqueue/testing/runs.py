"""Runs: what became of a task that was run to its end inside a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeVar, cast

from taskqueue import codec
from taskqueue.definitions import PipelineDefinition
from taskqueue.models import Attempt, Step, Task
from taskqueue.states import StepStatus, TaskStatus

R = TypeVar("R")


class RunFailed(AssertionError):
    """The result of a run was asked for, and there is none."""


@dataclass(frozen=True)
class RunError:
    """Why a run has no result.

    Attributes:
        type: the exception's class; `Stuck` when the task waits for something that nobody will do.
        message: its message.
        step: the key of the step that failed; None for the body.
    """

    type: str
    message: str
    step: str | None = None

    def __str__(self) -> str:
        """On one line."""
        return f"{self.type}: {self.message}" if self.message else self.type


@dataclass(frozen=True)
class Run(Generic[R]):
    """What became of a task.

    Attributes:
        task: its row as it was in the end.
        slept: how much time was let pass.
        unsent: the events that nobody waited for.
    """

    definition: PipelineDefinition = field(repr=False)
    task: Task
    slept: timedelta = timedelta(0)
    unsent: Sequence[tuple[str, Mapping[str, Any] | None]] = ()
    stuck: str = ""

    @property
    def status(self) -> TaskStatus:
        """How it ended; the status in which it is stuck, if it has not."""
        return TaskStatus(self.task.status)

    @property
    def error(self) -> RunError | None:
        """Why it has no result; None when it has."""
        if self.stuck:
            return RunError("Stuck", self.stuck)
        if self.task.error is not None:
            found = self.task.error
            return RunError(found["type"], found["message"], found.get("step"))
        if self.task.status == TaskStatus.CANCELLED:
            return RunError("Cancelled", self.task.cancel_reason)
        return None

    @property
    def result(self) -> R:
        """What it returned, with its type.

        Raises:
            RunFailed: it did not succeed; the message says why, with the traceback of the last failed try.
        """
        if self.task.status == TaskStatus.SUCCEEDED:
            return cast("R", self.definition.result.read(codec.write(self.task.result)))
        raise RunFailed(self._account())

    @property
    def steps(self) -> dict[str, Any]:
        """The outputs of its finished steps by key, as JSON, in the order in which they were recorded."""
        done = Step.objects.filter(task=self.task, status=StepStatus.SUCCEEDED).order_by("pk")
        return dict(done.values_list("key", "output"))

    @property
    def attempts(self) -> list[Attempt]:
        """Its failed tries, in order."""
        return list(Attempt.objects.filter(task=self.task).order_by("pk"))

    def _account(self) -> str:
        """Why there is no result."""
        error, attempts = self.error, self.attempts
        how = {TaskStatus.FAILED: "failed", TaskStatus.CANCELLED: "was cancelled"}.get(self.status, "has not ended")
        where = f" in step {error.step!r}" if error is not None and error.step else ""
        said = [f"The task of {self.task.pipeline_id} {how}{where}: {error}"]
        if attempts:
            last = attempts[-1]
            said.append(f"It had {len(attempts)} failed {'tries' if len(attempts) != 1 else 'try'}; the last one:")
            said.append(last.traceback or f"{last.error_type}: {last.error_message}")
        return "\n".join(said)
