"""The steps of a task's page: what is recorded, what runs now, what failed unrecorded, and what is still to come."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.urls import reverse
from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats, html
from taskqueue.admin.shared.formats import Excerpt
from taskqueue.admin.task.attempts import FailedAttempt, Log, attempt_number, log_of
from taskqueue.admin.task.queries import Outline
from taskqueue.admin.task.traceback import Run, runs_of
from taskqueue.admin.task.waterfall import Bar
from taskqueue.models import Attempt, PipelineStep, Step, StepReport, Task
from taskqueue.states import ENDED, StepKind, StepStatus, TaskStatus

BODY = "Body of the pipeline"
PENDING = "pending"
KINDS = {
    StepKind.PARALLEL: "parallel",
    StepKind.CHILD: "child task",
    StepKind.SLEEP: "sleep",
    StepKind.WAIT: "event",
    StepKind.EMIT: "sent",
}
"""What a row is when it is not a plain step."""
HOLLOW = (StepKind.SLEEP, StepKind.WAIT, StepKind.CHILD)
"""What holds no worker while it goes on."""


@dataclass(frozen=True)
class SoFar:
    """What a step that runs has said, and where its code stands.

    Attributes:
        runs: its stack.
        moment: when that was written.
        percent: how far its task says that it is.
    """

    log: Log | None
    runs: list[Run]
    moment: SafeString
    percent: int | None
    note: str


@dataclass(kw_only=True)
class StepRow:
    """One line of the waterfall, and what it opens to.

    Attributes:
        key: the step's key; empty for the body.
        status: a step's status, or `running`, or `pending` when it has no record.
        label: the word for the status where it is not the status itself.
        failures: failed attempts since the last retry by a person, as its policy counts them.
        log: what the try that succeeded has logged.
        most_tries: how many its policy allows, where that is known.
        kept: finished steps that a retry from here would keep; None when one cannot retry from here.
        forgotten: recorded steps after this one that it would forget.
        unfinished: recorded steps before this one that it would forget too, because they did not succeed.
    """

    key: str
    status: str
    label: str = ""
    kind: str = StepKind.STEP
    failures: int = 0
    bars: list[Bar] = field(default_factory=list)
    input: Excerpt | None = None
    output: Excerpt | None = None
    log: Log | None = None
    attempts: list[FailedAttempt] = field(default_factory=list)
    child: Task | None = None
    most_tries: int | None = None
    kept: int | None = None
    forgotten: int = 0
    unfinished: int = 0
    anchor: str = ""
    is_recorded: bool = False
    so_far: SoFar | None = None
    """Of a step that runs now."""
    heading: str = ""
    """Stands above the first of several that ran beside each other."""
    track: SafeString | None = None
    group_track: SafeString | None = None

    @property
    def title(self) -> str:
        """What it is called."""
        return self.key or BODY

    @property
    def badge(self) -> SafeString:
        """Its status."""
        return html.badge(self.status, label=self.label)

    @property
    def kind_word(self) -> str:
        """What it is, if not a plain step."""
        return KINDS.get(StepKind(self.kind), "")

    @property
    def is_parallel(self) -> bool:
        """Whether it runs beside others, so that it is indented."""
        return self.kind == StepKind.PARALLEL

    @property
    def took(self) -> str:
        """From its first start to its end, waits between tries included."""
        return formats.duration(self.bars[-1].end - self.bars[0].start) if self.bars else formats.NOTHING

    @property
    def tries(self) -> int:
        """Tries so far, the present one included."""
        return len(self.attempts) + (self.status in (StepStatus.SUCCEEDED, TaskStatus.RUNNING))

    @property
    def attempt(self) -> int:
        """Which attempt since the last retry by a person it is at."""
        return attempt_number(self.failures, self.status)

    @property
    def last(self) -> FailedAttempt | None:
        """The last failed try."""
        return self.attempts[-1] if self.attempts else None

    @property
    def is_open(self) -> bool:
        """Whether it is open on arrival: what needs a person's eye."""
        return self.status in (StepStatus.FAILED, StepStatus.RETRYING)

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing to open it for."""
        return self.status == PENDING and not self.attempts

    @property
    def child_address(self) -> str:
        """The page of the task that does it."""
        return reverse("admin:taskqueue_task_change", args=[self.child.pk]) if self.child is not None else ""

    @property
    def asks(self) -> bool:
        """Whether a retry from here runs more than this step again, so that it is asked for."""
        return self.forgotten + self.unfinished > 0

    @property
    def consequence(self) -> str:
        """What a retry from here does to what is recorded."""
        kept = f"Keeps the {formats.count_of(self.kept, 'earlier step output')}" if self.kept else "Keeps no output"
        after = f" and the {self.forgotten:,} after it" if self.forgotten else ""
        before = f" {self.unfinished:,} before it that did not succeed too." if self.unfinished else ""
        return f"{kept}, runs {self.key}{after} again.{before}"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What was read of a task's steps, from which its rows are made."""

    task: Task
    now: datetime
    outline: Outline
    steps: Sequence[Step]
    attempts: Sequence[Attempt]
    details: Mapping[int, dict[str, Any]]
    known: Sequence[PipelineStep]
    reports: Mapping[UUID, StepReport] = field(default_factory=dict)
    """By task, this one and its parallel steps: what the step that it is in has said so far."""

    @property
    def until(self) -> datetime:
        """How far what is still open has come."""
        return self.task.finished_at or self.now

    def tries(self) -> defaultdict[str, list[FailedAttempt]]:
        """The failed tries by step; those of a parallel step that is under way belong to its row here."""
        keys = {step.child_id: step.key for step in self.steps if step.child_id is not None}
        tries: defaultdict[str, list[FailedAttempt]] = defaultdict(list)
        for attempt in self.attempts:
            key = attempt.step_key if attempt.task_id == self.task.pk else keys.get(attempt.task_id, "")
            tries[key].append(FailedAttempt(attempt, self.now, self.details.get(attempt.pk)))
        return tries


def rows_of(record: Record) -> list[StepRow]:
    """All rows, in the order in which things happened, then what is still to come in the order of the code."""
    task, tries = record.task, record.tries()
    rows = [recorded_row(record, step, tries.pop(step.key, [])) for step in record.steps]
    body = [body_row(task, tries.pop(""))] if "" in tries else []
    place_recorded(rows, record)
    recorded = len(rows)
    mark_running(rows, record, tries)
    seen = {row.key for row in rows}
    called = {step.name for step in record.steps} | seen
    rows += [unrecorded_row(key, task, missed) for key, missed in tries.items() if key not in seen]
    called |= set(tries)
    if record.outline.has_all:  # else one that is not shown would seem to be still to come
        rows += [unrecorded_row(step.name, task, []) for step in record.known if step.name not in called]
    rows += body
    for number, row in enumerate(rows[recorded:], start=len(record.outline.steps) + 1):
        row.anchor = f"step-{number}"
    note_policies(rows, record)
    return rows


def recorded_row(record: Record, step: Any, attempts: list[FailedAttempt]) -> StepRow:
    """A step with a record."""
    succeeded = step.status == StepStatus.SUCCEEDED
    row = StepRow(
        key=step.key,
        status=step.status,
        kind=step.kind,
        failures=step.failures,
        is_recorded=True,
        input=None if step.input_text is None else excerpt_of(step, "input"),
        output=excerpt_of(step, "output") if succeeded and step.output_text is not None else None,
        log=log_of(step.log),
        attempts=attempts,
        child=step.child if step.kind == StepKind.CHILD else None,
        bars=[attempt.bar for attempt in attempts],
    )
    if step.kind == StepKind.PARALLEL and step.child is not None and step.status == StepStatus.WAITING:
        show_branch(row, record, step)
    elif succeeded or step.status == StepStatus.WAITING or step.kind in HOLLOW:
        row.bars.append(last_bar(row, record, step))
    return row


def excerpt_of(step: Any, what: str) -> Excerpt:
    """The beginning of a step's input or output."""
    address = reverse("admin:taskqueue_task_download", args=[step.task_id, f"{what}-{step.pk}"])
    return formats.excerpt_of(getattr(step, f"{what}_text"), getattr(step, f"{what}_size"), address=address)


def last_bar(row: StepRow, record: Record, step: Step) -> Bar:
    """The try that succeeded, or the wait that goes on or is over."""
    is_open = step.status == StepStatus.WAITING
    end = max(record.until, step.started_at) if is_open else step.finished_at
    is_hollow = step.kind in HOLLOW or is_open
    word = row.kind_word.capitalize() if step.kind in HOLLOW else f"Attempt {len(row.attempts) + 1}"
    look = TaskStatus.WAITING if step.kind in HOLLOW and step.status == StepStatus.SUCCEEDED else step.status
    return Bar(look=look, start=step.started_at, end=end, what=f"{word}, {step.status}", is_hollow=is_hollow)


def show_branch(row: StepRow, record: Record, step: Step) -> None:
    """A parallel step that is under way stands where its own task stands."""
    parallel_step = step.child
    assert parallel_step is not None  # noqa: S101 - asked by the caller
    row.status = parallel_step.status if parallel_step.status not in ENDED else step.status
    worker = parallel_step.worker
    start, is_hollow = (row.bars[-1].end if row.bars else step.started_at), True
    if parallel_step.status == TaskStatus.RUNNING and worker is not None and worker.task_id == parallel_step.pk:
        start, is_hollow = worker.step_started_at or parallel_step.started_at or start, False
        row.so_far = so_far(parallel_step, record)
    if parallel_step.status != TaskStatus.RETRYING:
        what = f"Attempt {len(row.attempts) + 1}, {row.status}"
        end = max(record.until, start)
        row.bars.append(Bar(look=row.status, start=start, end=end, what=what, is_hollow=is_hollow))


def place_recorded(rows: Sequence[StepRow], record: Record) -> None:
    """Number the rows as they are recorded; of an ended task, write what a retry from each would keep and forget."""
    places = {row: number for number, (row, _status) in enumerate(record.outline.steps, start=1)}
    kept = record.outline.kept_before
    for row, step in zip(rows, record.steps, strict=True):
        place = places[step.pk]
        row.anchor = f"step-{place}"
        if record.task.has_ended:
            row.kept, row.forgotten, row.unfinished = kept[step.pk], len(places) - place, place - 1 - kept[step.pk]


def mark_running(rows: list[StepRow], record: Record, tries: dict[str, list[FailedAttempt]]) -> None:
    """Mark the step that the task's worker says it is in; add it when it has no record yet."""
    task, worker = record.task, record.task.worker
    if task.status != TaskStatus.RUNNING or worker is None or worker.task_id != task.pk or not worker.step:
        return
    row = next((row for row in rows if row.key == worker.step), None)
    if row is None:
        missed = tries.pop(worker.step, [])
        row = StepRow(key=worker.step, status=TaskStatus.RUNNING, attempts=missed, bars=[each.bar for each in missed])
        rows.append(row)
    elif row.status == StepStatus.SUCCEEDED:
        return  # its checkpoint is newer than the worker's last word
    row.status = TaskStatus.RUNNING
    row.so_far = so_far(task, record, row.key)
    start = worker.step_started_at or record.now
    what = f"Attempt {len(row.attempts) + 1}, running"
    row.bars = [each.bar for each in row.attempts]
    row.bars.append(Bar(look=TaskStatus.RUNNING, start=start, end=max(record.now, start), what=what))


def so_far(task: Task, record: Record, key: str = "") -> SoFar | None:
    """What the step that a task is in has said; None before its first report, and of one that is about another step."""
    report = record.reports.get(task.pk)
    if report is None or (key and report.step != key):
        return None
    percent = None if task.progress is None else round(task.progress * 100)
    moment = html.moment(report.reported_at, record.now)
    return SoFar(log_of(report.logs), runs_of(report.stack), moment, percent, task.progress_note)


def body_row(task: Task, attempts: list[FailedAttempt]) -> StepRow:
    """Failed tries of the body itself, and of workers lost before they told their step."""
    failed_in_body = task.status == TaskStatus.FAILED and not (task.error or {}).get("step")
    status = StepStatus.FAILED if failed_in_body else StepStatus.RETRYING if is_retrying(task, attempts) else PENDING
    label = "" if status != PENDING else "Tried again"
    bars = [each.bar for each in attempts]
    return StepRow(key="", status=status, label=label, failures=task.failures, attempts=attempts, bars=bars)


def is_retrying(task: Task, attempts: list[FailedAttempt]) -> bool:
    """Whether it is the body that a retrying task will try again."""
    return task.status == TaskStatus.RETRYING and task.failures > 0 and bool(attempts)


def unrecorded_row(key: str, task: Task, attempts: list[FailedAttempt]) -> StepRow:
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
        key=key,
        status=StepStatus.FAILED if failed else PENDING,
        label="" if failed else label,
        attempts=attempts,
        bars=[each.bar for each in attempts],
    )


def note_policies(rows: Iterable[StepRow], record: Record) -> None:
    """How many tries each row has at most, by the name that its key begins with, and how many failed since a retry."""
    retried_at = record.task.retried_at
    most = {step.name: len(step.retry) + 1 for step in record.known}
    for row in rows:
        lately = [each for each in row.attempts if retried_at is None or each.attempt.finished_at > retried_at]
        row.failures = len(lately)
        row.most_tries = most.get(row.key.partition("#")[0])
