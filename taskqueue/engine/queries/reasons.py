"""Reasons why a task is not running: a code, a sentence for people, and details for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from taskqueue.models import Step, Task, Wait
from taskqueue.states import TaskStatus


class Code(StrEnum):
    """The kind of a reason."""

    ENDED = "ended"
    RUNNING = "running"
    PAUSED = "paused"
    """An operator has paused the pipeline."""
    NO_WORKER = "no_worker"
    """No live worker takes the queue of the pipeline, or of the step that comes next, and knows the pipeline."""
    LIMIT = "limit"
    """The pipeline, or the task's concurrency key, is at its limit."""
    THROTTLE = "throttle"
    """The rate of the pipeline's starts has no free time soon."""
    QUEUED = "queued"
    SCHEDULED = "scheduled"
    COLLECTING = "collecting"
    """The pipeline debounces or batches, and the task waits for more requests."""
    RETRYING = "retrying"
    SLEEP = "sleep"
    EVENT = "event"
    CHILD = "child"
    PARALLEL_STEPS = "parallel_steps"
    RATE = "rate"
    """A rate gave the task a later time."""
    STEP_LIMIT = "step_limit"
    """The pipeline executes as many steps as its limit allows."""


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """An event that would end a wait."""

    event: str
    match: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Holder:
    """A task that holds a slot, or that is waited for."""

    id: UUID
    pipeline: str
    status: str
    since: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One reason. Details that do not apply to its code are None or empty.

    Attributes:
        code: its kind.
        sentence: for people.
        waiting_for: in a few words, as the status shows it.
        name: of the sleep, rate, wait or pipeline.
        step: the key of the step.
        attempt: the number of the next attempt.
        since: when it began.
        until: when it ends by itself.
        by: the user who paused the pipeline, or the worker that runs the task.
        cause: the operator's reason, or the last error.
        limit: the limit, and `taken` the number in use.
        key: the concurrency key or rate key; None if the limit has no key.
        holders: up to 20 tasks that hold the slots, or that the task waits for.
        events: any of these ends the wait.
        ahead: how many tasks go first; `ahead_is_more` if there are more.
        expected_at: the estimated start.
        workers: the number of live workers; if it is queued, of those that take its queue. `workers_busy` of them are
            busy.
    """

    code: Code
    sentence: str
    waiting_for: str | None = None
    name: str | None = None
    step: str | None = None
    attempt: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    by: str | None = None
    cause: str | None = None
    limit: int | None = None
    taken: int | None = None
    key: str | None = None
    holders: tuple[Holder, ...] = ()
    events: tuple[Alternative, ...] = ()
    ahead: int | None = None
    ahead_is_more: bool = False
    expected_at: datetime | None = None
    workers: int | None = None
    workers_busy: int | None = None


def ended(task: Task) -> Reason:
    verbs = {TaskStatus.SUCCEEDED: "succeeded", TaskStatus.FAILED: "failed", TaskStatus.CANCELLED: "was cancelled"}
    cause = task.cancel_reason or error_text(task.error or {})
    sentence = f"It {verbs[TaskStatus(task.status)]} at {time_text(task.finished_at)}{cause_suffix(cause)}"
    return Reason(code=Code.ENDED, sentence=sentence, since=task.finished_at, cause=cause or None)


def running(task: Task) -> Reason:
    worker = task.worker
    if worker is None:
        return Reason(code=Code.RUNNING, sentence="It runs.")
    running = worker.step_of(task.pk)
    step, since = running or ("", None)
    in_step = f", in step {step} since {time_text(since)}" if step else ""
    sentence = f"It runs on worker {worker}{in_step}."
    return Reason(code=Code.RUNNING, sentence=sentence, step=step or None, since=since, by=str(worker))


def scheduled(task: Task) -> Reason:
    if task.debounce_key:
        sentence = f"It collects more requests until {time_text(task.due_at)}."
        return Reason(code=Code.COLLECTING, sentence=sentence, waiting_for="more requests", until=task.due_at)
    sentence = f"It is scheduled for {time_text(task.due_at)}."
    return Reason(code=Code.SCHEDULED, sentence=sentence, waiting_for="its time", until=task.due_at)


def retrying(task: Task, step: Step | None, error: Mapping[str, Any]) -> Reason:
    """A step, or the body if there is none, failed and is retried."""
    attempt = (step.failures if step is not None else task.failures) + 1
    subject = f"Step {step.key}" if step is not None else "Its body"
    cause = error_text(error)
    last = f"Last error{cause_suffix(cause)}"
    return Reason(
        code=Code.RETRYING,
        sentence=f"{subject} failed; attempt {attempt} starts at {time_text(task.due_at)}. {last}",
        waiting_for=f"the next attempt of {step.key}" if step is not None else "the next attempt",
        step=step.key if step is not None else None,
        attempt=attempt,
        until=task.due_at,
        cause=cause or None,
    )


def sleep(step: Step) -> Reason:
    return Reason(
        code=Code.SLEEP,
        sentence=f"It sleeps ({step.key}) until {time_text(step.until)}.",
        waiting_for=f"the end of its sleep {step.key}",
        name=step.name,
        step=step.key,
        since=step.started_at,
        until=step.until,
    )


def event(step: Step, waits: Iterable[Wait]) -> Reason:
    """The task waits for the first of several events."""
    events = tuple(Alternative(event=wait.event, match=wait.match) for wait in waits)
    alternatives = " or ".join(alternative_text(each) for each in events) or f"an event ({step.key})"
    names = " or ".join(dict.fromkeys(each.event for each in events)) or step.key
    return Reason(
        code=Code.EVENT,
        sentence=f"It waits for {alternatives}{until_suffix(step.until)}.",
        waiting_for=f"event {names}",
        name=step.name,
        step=step.key,
        since=step.started_at,
        until=step.until,
        events=events,
    )


def alternative_text(alternative: Alternative) -> str:
    match = " and ".join(f"{path} = {value_text(value)}" for path, value in alternative.match.items())
    return f"event {alternative.event} with {match}" if match else f"event {alternative.event}"


def child(step: Step) -> Reason:
    task = step.child
    subject, waiting_for = f"a task ({step.key})", "its child"
    if task is not None:
        subject = f"task {task.pk} of {task.pipeline_id}, which is {task.status}"
        waiting_for = f"its child {task.pipeline_id}"
    return Reason(
        code=Code.CHILD,
        sentence=f"It waits for {subject}{until_suffix(step.until)}.",
        waiting_for=waiting_for,
        name=task.pipeline_id if task is not None else None,
        step=step.key,
        since=step.started_at,
        until=step.until,
        holders=(holder(task),) if task is not None else (),
    )


def parallel_steps(steps: Sequence[Step], total: int) -> Reason:
    """Of `total` parallel steps these are unfinished."""
    tasks = [step.child for step in steps if step.child is not None]
    states = Counter(f"{task.status} at {task.blocked_on}" if task.blocked_on else task.status for task in tasks)
    text = ", ".join(f"{number:,} {state}" for state, number in sorted(states.items()))
    return Reason(
        code=Code.PARALLEL_STEPS,
        sentence=f"It waits for {len(steps):,} of {total:,} parallel steps{f' ({text})' if text else ''}.",
        waiting_for=parallel_steps_text(len(steps)),
        step=steps[0].key,
        since=min(step.started_at for step in steps),
        taken=len(steps),
        limit=total,
    )


def parallel_steps_in_short(number: int) -> Reason:
    return Reason(code=Code.PARALLEL_STEPS, sentence="", waiting_for=parallel_steps_text(number))


def parallel_steps_text(number: int) -> str:
    return "1 parallel step" if number == 1 else f"{number:,} parallel steps"


def unknown(task: Task) -> Reason:
    """A waiting task without an open step: it is between two commits."""
    return Reason(code=Code.QUEUED, sentence="It is about to go on.", waiting_for="a free worker", until=task.due_at)


def holder(task: Task) -> Holder:
    return Holder(task.pk, task.pipeline_id, task.status, task.slot_acquired_at or task.created_at)


def error_text(error: Mapping[str, Any]) -> str:
    return ": ".join(filter(None, [error.get("type"), error.get("message")]))


def time_text(moment: datetime | None) -> str:
    return "an unknown time" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def until_suffix(moment: datetime | None) -> str:
    return f", until {time_text(moment)} at the latest" if moment is not None else ""


def cause_suffix(cause: str) -> str:
    """The end of a sentence: a colon and the first line of the cause, or a full stop."""
    line = next((line.strip() for line in cause.splitlines() if line.strip()), "")
    line = line if len(line) <= 200 else line[:199] + "…"
    return f": {line}" if line and line[-1] in ".!?…" else f": {line}." if line else "."


def value_text(value: Any) -> str:
    """A JSON value as text."""
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def duration_text(duration: timedelta) -> str:
    """A duration in its largest unit, such as "2 hours" or "0.5 s"."""
    seconds = max(duration.total_seconds(), 0.0)
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            number = round(seconds / size)
            return f"{number} {unit}{'s' * (number != 1)}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
