"""The steps of a task's page: what is recorded, what runs now, what failed unrecorded, and what is still to come."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.utils.safestring import SafeString

from taskqueue.admin import formats, markup
from taskqueue.admin.formats import Excerpt
from taskqueue.models import Attempt, PipelineStep, Step, Task
from taskqueue.states import StepStatus, TaskStatus

BODY = "Body of the pipeline"
PENDING = "pending"


@dataclass(frozen=True)
class FailedTry:
    """One failed try of a step."""

    attempt: Attempt
    now: datetime

    @property
    def badge(self) -> SafeString:
        """How it ended."""
        return markup.badge(self.attempt.outcome)

    @property
    def moment(self) -> SafeString:
        """When it began."""
        return markup.moment(self.attempt.started_at, self.now)

    @property
    def took(self) -> str:
        """How long it went on."""
        return formats.duration(formats.between(self.attempt.started_at, self.attempt.finished_at))


@dataclass(kw_only=True)
class StepRow:
    """One line of the list of steps, and what it opens to.

    Attributes:
        key: the step's key; empty for the body.
        status: a step's status, or `running`, or `pending` when it has no record.
        label: the word for the status where it is not the status itself.
        kept: finished steps that a retry from here would keep; None when one cannot retry from here.
        forgotten: recorded steps after this one that it would forget.
    """

    key: str
    status: str
    label: str = ""
    took: str = formats.NOTHING
    input: Excerpt | None = None
    output: Excerpt | None = None
    error: dict[str, str] | None = None
    attempts: list[FailedTry] = field(default_factory=list)
    kept: int | None = None
    forgotten: int = 0
    anchor: str = ""

    @property
    def title(self) -> str:
        """What it is called."""
        return self.key or BODY

    @property
    def badge(self) -> SafeString:
        """Its status."""
        return markup.badge(self.status, label=self.label)

    @property
    def tries(self) -> int:
        """Tries so far, the present one included."""
        return len(self.attempts) + (self.status in (StepStatus.SUCCEEDED, TaskStatus.RUNNING))

    @property
    def is_open(self) -> bool:
        """Whether it is open on arrival: what needs a person's eye."""
        return self.status in (StepStatus.FAILED, StepStatus.RETRYING)

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing to open it for."""
        return self.status == PENDING and not self.attempts

    @property
    def consequence(self) -> str:
        """What a retry from here does to what is recorded."""
        kept = f"keeps the {formats.count_of(self.kept, 'earlier output')}" if self.kept else "keeps no earlier output"
        if not self.forgotten:
            return f"{kept} and runs this step again"
        later = formats.count_of(self.forgotten, "step")
        return f"{kept}, runs this step again, and forgets the {later} recorded after it"


def rows_of(
    task: Task, *, recorded: Sequence[Step], attempts: Iterable[Attempt], known: Iterable[PipelineStep], now: datetime
) -> list[StepRow]:
    """All rows, in the order in which things happened, then what is still to come in the order of the code."""
    tries: defaultdict[str, list[FailedTry]] = defaultdict(list)
    for attempt in attempts:
        tries[attempt.step_key].append(FailedTry(attempt, now))
    rows = [recorded_row(step, tries.pop(step.key, [])) for step in recorded]
    allow_retries(rows, task)
    body = [body_row(task, tries.pop(""))] if "" in tries else []
    mark_running(rows, task, tries, now)
    seen = {row.key for row in rows}
    called = {step.name for step in recorded} | seen
    rows += [unrecorded_row(key, task, missed) for key, missed in tries.items() if key not in seen]
    called |= set(tries)
    rows += [unrecorded_row(step.name, task, []) for step in known if step.name not in called]
    rows += body
    for number, row in enumerate(rows, start=1):
        row.anchor = f"step-{number}"
    return rows


def recorded_row(step: Step, attempts: list[FailedTry]) -> StepRow:
    """A step with a record."""
    succeeded = step.status == StepStatus.SUCCEEDED
    return StepRow(
        key=step.key,
        status=step.status,
        took=formats.duration(formats.between(step.started_at, step.finished_at)),
        input=formats.excerpt(step.input) if step.input is not None else None,
        output=formats.excerpt(step.output) if succeeded else None,
        error=step.error,
        attempts=attempts,
    )


def allow_retries(rows: Sequence[StepRow], task: Task) -> None:
    """On the rows of an ended task, write what a retry from each would keep and forget."""
    if not task.has_ended:
        return
    kept = 0
    for index, row in enumerate(rows):
        row.kept = kept
        row.forgotten = len(rows) - index - 1
        kept += row.status == StepStatus.SUCCEEDED


def mark_running(rows: list[StepRow], task: Task, tries: dict[str, list[FailedTry]], now: datetime) -> None:
    """Mark the step that the task's worker says it is in; add it when it has no record yet."""
    worker = task.worker
    if task.status != TaskStatus.RUNNING or worker is None or worker.task_id != task.pk or not worker.step:
        return
    row = next((row for row in rows if row.key == worker.step), None)
    if row is None:
        row = StepRow(key=worker.step, status=TaskStatus.RUNNING, attempts=tries.pop(worker.step, []))
        rows.append(row)
    elif row.status == StepStatus.SUCCEEDED:
        return  # its checkpoint is newer than the worker's last word
    row.status = TaskStatus.RUNNING
    row.took = formats.duration(formats.between(worker.step_started_at, now))


def body_row(task: Task, attempts: list[FailedTry]) -> StepRow:
    """Failed tries of the body itself, and of workers lost before they told their step."""
    failed_in_body = task.status == TaskStatus.FAILED and not (task.error or {}).get("step")
    status = StepStatus.FAILED if failed_in_body else StepStatus.RETRYING if is_retrying(task, attempts) else PENDING
    label = "" if status != PENDING else "Tried again"
    return StepRow(key="", status=status, label=label, attempts=attempts)


def is_retrying(task: Task, attempts: list[FailedTry]) -> bool:
    """Whether it is the body that a retrying task will try again."""
    return task.status == TaskStatus.RETRYING and task.failures > 0 and bool(attempts)


def unrecorded_row(key: str, task: Task, attempts: list[FailedTry]) -> StepRow:
    """A step without a record: still to come, never reached, not called, or tried and lost."""
    match task.status:
        case TaskStatus.SUCCEEDED:
            label = "Not called"
        case TaskStatus.FAILED | TaskStatus.CANCELLED:
            label = "Not reached"
        case _:
            label = "Not yet"
    failed = task.status == TaskStatus.FAILED and (task.error or {}).get("step") == key
    return StepRow(
        key=key, status=StepStatus.FAILED if failed else PENDING, label="" if failed else label, attempts=attempts
    )
