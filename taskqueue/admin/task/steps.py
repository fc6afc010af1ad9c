"""The rows of a task's waterfall: recorded steps, the running step, and steps without a record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats, html
from taskqueue.admin.shared.formats import Excerpt
from taskqueue.admin.task.attempts import AttemptRow, attempt_number, log_of
from taskqueue.admin.task.queries import Outline, excerpt_of
from taskqueue.admin.task.traceback import frame_groups
from taskqueue.admin.task.waterfall import Span
from taskqueue.models import Attempt, PipelineStep, Step, StepReport, Task
from taskqueue.states import ENDED, StepKind, StepStatus, TaskStatus

BODY = "Body of the pipeline"
PENDING = "pending"
KIND_NAMES = {
    StepKind.PARALLEL: "parallel",
    StepKind.CHILD: "child task",
    StepKind.SLEEP: "sleep",
    StepKind.WAIT: "event",
    StepKind.EMIT: "sent",
}
"""Kinds other than a plain step."""
WITHOUT_WORKER = (StepKind.SLEEP, StepKind.WAIT, StepKind.CHILD)
"""Kinds that use no worker while they last."""


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """One row of the waterfall, and the panel below it.

    Attributes:
        key: the step's key; empty for the body.
        status: a step's status, `running`, or `pending` when there is no record.
        label: of the badge, where it differs from the status.
        failures: failed attempts since the last manual retry.
        log: of the attempt that succeeded.
        kept: finished steps that a retry from here keeps; None while the task has not ended.
        forgotten: recorded steps after this one that the retry runs again.
        unfinished: recorded steps before this one that it runs again too, because they did not succeed.
        heading: above the first of several parallel steps.
    """

    key: str
    status: str
    label: str = ""
    kind: str = StepKind.STEP
    failures: int = 0
    spans: Sequence[Span] = ()
    input: Excerpt | None = None
    output: Excerpt | None = None
    log: dict[str, Any] | None = None
    attempts: Sequence[AttemptRow] = ()
    child: Task | None = None
    max_attempts: int | None = None
    kept: int | None = None
    forgotten: int = 0
    unfinished: int = 0
    anchor: str = ""
    is_recorded: bool = False
    live_report: dict[str, Any] | None = None
    heading: str = ""
    track: SafeString | None = None
    group_track: SafeString | None = None

    @property
    def title(self) -> str:
        return self.key or BODY

    @property
    def badge(self) -> SafeString:
        return html.badge(self.status, label=self.label)

    @property
    def kind_name(self) -> str:
        return KIND_NAMES.get(StepKind(self.kind), "")

    @property
    def is_parallel(self) -> bool:
        return self.kind == StepKind.PARALLEL

    @property
    def duration(self) -> str:
        return formats.duration(self.spans[-1].end - self.spans[0].start) if self.spans else formats.EMPTY_VALUE

    @property
    def attempt_count(self) -> int:
        return len(self.attempts) + (self.status in (StepStatus.SUCCEEDED, TaskStatus.RUNNING))

    @property
    def attempt(self) -> int:
        return attempt_number(self.failures, self.status)

    @property
    def last(self) -> AttemptRow | None:
        return self.attempts[-1] if self.attempts else None

    @property
    def is_open(self) -> bool:
        return self.status in (StepStatus.FAILED, StepStatus.RETRYING)

    @property
    def is_blank(self) -> bool:
        return self.status == PENDING and not self.attempts

    @property
    def needs_confirmation(self) -> bool:
        """Whether a retry from here runs other steps again too."""
        return self.forgotten + self.unfinished > 0

    @property
    def consequence(self) -> str:
        following = "step" if self.forgotten == 1 else f"{self.forgotten:,} steps"
        after = f" and the next {following}" if self.forgotten else ""
        before = f" and {formats.count_of(self.unfinished, 'unfinished step')} before it" if self.unfinished else ""
        kept = formats.count_of(self.kept, "earlier result") if self.kept else "no earlier result"
        return f"Runs {self.key}{after}{before} again; keeps {kept}."


@dataclass(frozen=True, kw_only=True)
class Record:
    """The rows that the page has read.

    Attributes:
        details: traceback and log, by attempt.
        known: the synced steps of the pipeline.
        reports: live reports, by task: this one and its parallel steps.
    """

    task: Task
    now: datetime
    outline: Outline
    steps: Sequence[Step]
    attempts: Sequence[Attempt]
    details: Mapping[int, dict[str, Any]]
    known: Sequence[PipelineStep]
    reports: Mapping[UUID, StepReport] = field(default_factory=dict)

    @property
    def until(self) -> datetime:
        """The end of spans that have not ended."""
        return self.task.finished_at or self.now

    def attempts_by_step(self) -> defaultdict[str, list[AttemptRow]]:
        """Failed attempts by step key; those of an unfinished parallel step belong to its row."""
        keys = {step.child_id: step.key for step in self.steps if step.child_id is not None}
        attempts: defaultdict[str, list[AttemptRow]] = defaultdict(list)
        for attempt in self.attempts:
            key = attempt.step_key if attempt.task_id == self.task.pk else keys.get(attempt.task_id, "")
            attempts[key].append(AttemptRow(attempt, self.now, self.details.get(attempt.pk)))
        return attempts


def rows_of(record: Record) -> list[StepRow]:
    """All rows: recorded steps in their order, then steps without a record in the order of the code."""
    task, attempts = record.task, record.attempts_by_step()
    positions = record.outline.positions
    rows = [recorded_row(record, step, attempts.pop(step.key, []), *positions[step.pk]) for step in record.steps]
    body = [body_row(task, attempts.pop(""))] if "" in attempts else []
    rows = with_running(rows, record, attempts)
    keys = {row.key for row in rows}
    named = {step.name for step in record.steps} | keys | set(attempts)
    rows += [unrecorded_row(key, task, failed) for key, failed in attempts.items() if key not in keys]
    if record.outline.has_all:  # else a step that is not shown would seem to be still to come
        rows += [unrecorded_row(step.name, task, []) for step in record.known if step.name not in named]
    return numbered([*rows, *body], record)


def numbered(rows: list[StepRow], record: Record) -> list[StepRow]:
    """Add anchors to rows without a record, and to all rows what their retry policies say."""
    retried_at = record.task.retried_at
    max_attempts = {step.name: len(step.retry) + 1 for step in record.known}
    number = len(record.outline.steps)
    complete = []
    for row in rows:
        number += not row.anchor
        recent = [each for each in row.attempts if retried_at is None or each.attempt.finished_at > retried_at]
        policy = max_attempts.get(row.key.partition("#")[0])
        anchor = row.anchor or f"step-{number}"
        complete.append(replace(row, anchor=anchor, failures=len(recent), max_attempts=policy))
    return complete


def recorded_row(record: Record, step: Any, attempts: list[AttemptRow], number: int, kept: int) -> StepRow:
    """The row of a recorded step: the one with this number, after `kept` succeeded steps."""
    succeeded = step.status == StepStatus.SUCCEEDED
    row = StepRow(
        key=step.key,
        status=step.status,
        kind=step.kind,
        anchor=f"step-{number}",
        is_recorded=True,
        input=None if step.input_text is None else excerpt_of(step, "input"),
        output=excerpt_of(step, "output") if succeeded and step.output_text is not None else None,
        log=log_of(step.log),
        attempts=attempts,
        child=step.child if step.kind == StepKind.CHILD else None,
        spans=spans_of(attempts),
    )
    if record.task.has_ended:
        forgotten, unfinished = len(record.outline.steps) - number, number - 1 - kept
        row = replace(row, kept=kept, forgotten=forgotten, unfinished=unfinished)
    if step.kind == StepKind.PARALLEL and step.child is not None and step.status == StepStatus.WAITING:
        return unfinished_parallel_row(row, record, step, step.child)
    if succeeded or step.status == StepStatus.WAITING or step.kind in WITHOUT_WORKER:
        return replace(row, spans=[*row.spans, last_span(row, record, step)])
    return row


def spans_of(attempts: Sequence[AttemptRow]) -> list[Span]:
    return [attempt.span for attempt in attempts]


def last_span(row: StepRow, record: Record, step: Step) -> Span:
    is_open = step.status == StepStatus.WAITING
    is_wait = step.kind in WITHOUT_WORKER
    end = max(record.until, step.started_at) if is_open else step.finished_at
    name = row.kind_name.capitalize() if is_wait else f"Attempt {len(row.attempts) + 1}"
    status = TaskStatus.WAITING if is_wait and step.status == StepStatus.SUCCEEDED else step.status
    return Span(
        status=status, start=step.started_at, end=end, label=f"{name}, {step.status}", is_hollow=is_wait or is_open
    )


def unfinished_parallel_row(row: StepRow, record: Record, step: Step, task: Task) -> StepRow:
    """A parallel step has the status of its own task until it ends."""
    status = task.status if task.status not in ENDED else step.status
    row = replace(row, status=status)
    start, is_running = (row.spans[-1].end if row.spans else step.started_at), False
    if task.status == TaskStatus.RUNNING and task.worker is not None and (running := task.worker.step_of(task.pk)):
        start, is_running = running.since or task.started_at or start, True
        row = replace(row, live_report=live_report(task, record))
    if task.status == TaskStatus.RETRYING:
        return row
    label = f"Attempt {len(row.attempts) + 1}, {status}"
    span = Span(status=status, start=start, end=max(record.until, start), label=label, is_hollow=not is_running)
    return replace(row, spans=[*row.spans, span])


def with_running(rows: list[StepRow], record: Record, attempts: dict[str, list[AttemptRow]]) -> list[StepRow]:
    """Mark the step that the task's worker is in; add its row if it has no record yet."""
    task, worker = record.task, record.task.worker
    running = worker.step_of(task.pk) if task.status == TaskStatus.RUNNING and worker is not None else None
    if running is None or not running.key:
        return rows
    index = next((index for index, row in enumerate(rows) if row.key == running.key), len(rows))
    if index == len(rows):
        row = StepRow(key=running.key, status=TaskStatus.RUNNING, attempts=attempts.pop(running.key, []))
    elif rows[index].status == StepStatus.SUCCEEDED:
        return rows  # its checkpoint is newer than the worker's row
    else:
        row = rows[index]
    start = running.since or record.now
    label = f"Attempt {len(row.attempts) + 1}, running"
    span = Span(status=TaskStatus.RUNNING, start=start, end=max(record.now, start), label=label)
    running_row = replace(
        row,
        status=TaskStatus.RUNNING,
        spans=[*spans_of(row.attempts), span],
        live_report=live_report(task, record, row.key),
    )
    return [*rows[:index], running_row, *rows[index + 1 :]]


def live_report(task: Task, record: Record, key: str = "") -> dict[str, Any] | None:
    """What a running step has logged so far, and its stack; None without a report, or with one about another step."""
    report = record.reports.get(task.pk)
    if report is None or (key and report.step != key):
        return None
    return {
        "log": log_of(report.logs),
        "frame_groups": frame_groups(report.stack),
        "time": html.moment(report.reported_at, record.now),
        "percent": None if task.progress is None else round(task.progress * 100),
        "note": task.progress_note,
    }


def body_row(task: Task, attempts: list[AttemptRow]) -> StepRow:
    """Failed attempts of the body, and of workers that were lost before they reported their step."""
    has_failed = task.status == TaskStatus.FAILED and not (task.error or {}).get("step")
    is_retrying = task.status == TaskStatus.RETRYING and task.failures > 0 and bool(attempts)
    status = StepStatus.FAILED if has_failed else StepStatus.RETRYING if is_retrying else PENDING
    label = "Retried" if status == PENDING else ""
    return StepRow(key="", status=status, label=label, attempts=attempts, spans=spans_of(attempts))


def unrecorded_row(key: str, task: Task, attempts: list[AttemptRow]) -> StepRow:
    """A step without a record: not reached yet, never reached, not called, or lost with its worker."""
    match task.status:
        case TaskStatus.SUCCEEDED:
            label = "Not called"
        case TaskStatus.FAILED | TaskStatus.CANCELLED:
            label = "Not reached"
        case _:
            label = "Not yet"
    has_failed = task.status == TaskStatus.FAILED and (task.error or {}).get("step") == key
    return StepRow(
        key=key,
        status=StepStatus.FAILED if has_failed else PENDING,
        label="" if has_failed else label,
        attempts=attempts,
        spans=spans_of(attempts),
    )
