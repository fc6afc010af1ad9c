"""The result and the record of a task that was run to its end inside a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

from taskqueue.definitions import PipelineDefinition
from taskqueue.json_values import codec
from taskqueue.models import Attempt, Step, Task
from taskqueue.states import StepStatus, TaskStatus

R = TypeVar("R")


class RunFailed(AssertionError):
    """A run has no result."""


@dataclass(frozen=True)
class RunError:
    """Why a run has no result.

    Attributes:
        type: the exception's class; `Stuck` when the task waits for something that will not happen.
        message: its message.
        step: the key of the step that failed; None for the body.
    """

    type: str
    message: str
    step: str | None = None

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


@dataclass(frozen=True)
class Run(Generic[R]):
    """A task that was run to its end.

    Attributes:
        task: its row at the end.
        slept: the time that was made to pass.
        unsent: the events for which the task did not wait.
    """

    definition: PipelineDefinition = field(repr=False)
    task: Task
    slept: timedelta = timedelta(0)
    unsent: Sequence[tuple[str, Mapping[str, Any] | None]] = ()
    stuck: str = ""

    @property
    def status(self) -> TaskStatus:
        """How it ended, or the status in which it is stuck."""
        return TaskStatus(self.task.status)

    @property
    def error(self) -> RunError | None:
        """Why it has no result, or None."""
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
        """What the pipeline returned, with its type.

        Raises:
            RunFailed: it did not succeed; the message has the reason and the traceback of the last failed attempt.
        """
        if self.task.status == TaskStatus.SUCCEEDED:
            return cast("R", self.definition.result.read(codec.write(self.task.result)))
        raise RunFailed(self._failure_text())

    @property
    def steps(self) -> dict[str, Any]:
        """The outputs of its finished steps by key, as JSON, in recorded order."""
        return outputs_of(self.task.pk)

    @property
    def attempts(self) -> list[Attempt]:
        """Its failed attempts, in order."""
        return list(Attempt.objects.filter(task=self.task).order_by("pk"))

    def _failure_text(self) -> str:
        error, attempts = self.error, self.attempts
        how = {TaskStatus.FAILED: "failed", TaskStatus.CANCELLED: "was cancelled"}.get(self.status, "has not ended")
        where = f" in step {error.step!r}" if error is not None and error.step else ""
        lines = [f"The task of {self.task.pipeline_id} {how}{where}: {error}"]
        if attempts:
            last = attempts[-1]
            lines.append(
                f"It had {len(attempts)} failed {'attempts' if len(attempts) != 1 else 'attempt'}; the last one:"
            )
            lines.append(last.traceback or f"{last.error_type}: {last.error_message}")
        return "\n".join(lines)


def outputs_of(task: UUID) -> dict[str, Any]:
    done = Step.objects.filter(task=task, status=StepStatus.SUCCEEDED).order_by("pk")
    return dict(done.values_list("key", "output"))
