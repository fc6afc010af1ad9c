"""Reasons: why a task is not running, each as a code, a sentence for people, and the facts behind it."""

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
    """What kind of reason it is."""

    ENDED = "ended"
    RUNNING = "running"
    PAUSED = "paused"
    """People have paused its pipeline."""
    NO_WORKER = "no_worker"
    """No live worker's code knows its pipeline."""
    LIMIT = "limit"
    """All places of its pipeline, or of its key, are taken."""
    THROTTLE = "throttle"
    """The starts of its pipeline are booked up."""
    QUEUED = "queued"
    """It stands in the queue."""
    SCHEDULED = "scheduled"
    COLLECTING = "collecting"
    """It waits for more requests: its pipeline debounces or batches."""
    RETRYING = "retrying"
    SLEEP = "sleep"
    EVENT = "event"
    CHILD = "child"
    PARALLEL_STEPS = "parallel_steps"
    RATE = "rate"
    """It was given a later time by a rate."""
    STEP_LIMIT = "step_limit"
    """As many steps of its pipeline execute as may."""


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """An event that would end a wait."""

    event: str
    match: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A task that stands in the way, or that is waited for."""

    id: UUID
    pipeline: str
    status: str
    since: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One reason; the facts that do not belong to it are None or empty.

    Attributes:
        code: its kind, for programs.
        sentence: for people.
        waiting_for: the same in a few words, as the status says it.
        name: of what it waits for or is limited by: a sleep, a rate, a pipeline.
        step: the key of the step that is concerned.
        attempt: which try comes next.
        since: since when.
        until: when it is over by itself.
        by: who paused it, or the worker that has it.
        cause: the words of whoever paused it, or the last error.
        limit: how many there may be, and `taken` how many there are.
        key: the value of the limit's key; None for a limit in all.
        holders: up to 20 tasks that hold the places, or that it waits for.
        events: of which one has to come.
        ahead: how many go before it; `ahead_is_more` when it was not counted further.
        expected_at: an estimate of its start.
        workers: how many live, and how many of them are busy.
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
    """It needs no more."""
    how = {TaskStatus.SUCCEEDED: "succeeded", TaskStatus.FAILED: "failed", TaskStatus.CANCELLED: "was cancelled"}
    error = task.error or {}
    cause = task.cancel_reason or ": ".join(filter(None, [error.get("type"), error.get("message")]))
    sentence = f"It {how[TaskStatus(task.status)]} at {moment(task.finished_at)}{because(cause)}"
    return Reason(code=Code.ENDED, sentence=sentence, since=task.finished_at, cause=cause or None)


def running(task: Task) -> Reason:
    """A worker has it."""
    worker = task.worker
    here = worker is not None and worker.task_id == task.pk
    step = worker.step if worker is not None and here else ""
    since = worker.step_started_at if worker is not None and here else None
    where = f"It runs on worker {worker}" if worker is not None else "It runs"
    what = f", in step {step} since {moment(since)}." if step else "."
    by = str(worker) if worker is not None else None
    return Reason(code=Code.RUNNING, sentence=where + what, step=step or None, since=since, by=by)


def scheduled(task: Task) -> Reason:
    """Its time has not come."""
    if task.debounce_key:
        sentence = f"It waits for more requests that join it, until {moment(task.due_at)}."
        return Reason(code=Code.COLLECTING, sentence=sentence, waiting_for="more requests", until=task.due_at)
    sentence = f"It is scheduled for {moment(task.due_at)}."
    return Reason(code=Code.SCHEDULED, sentence=sentence, waiting_for="its time", until=task.due_at)


def retrying(task: Task, step: Step | None, error: Mapping[str, Any]) -> Reason:
    """A try failed, and the next one has its time."""
    failures = step.failures if step is not None else task.failures
    what = f"Step {step.key}" if step is not None else "Its body"
    cause = ": ".join(filter(None, [error.get("type"), error.get("message")]))
    return Reason(
        code=Code.RETRYING,
        sentence=f"{what} failed; try {failures + 1} comes at {moment(task.due_at)}. Last error{because(cause)}",
        waiting_for=f"the next try of {step.key}" if step is not None else "the next try",
        step=step.key if step is not None else None,
        attempt=failures + 1,
        until=task.due_at,
        cause=cause or None,
    )


def sleep(step: Step) -> Reason:
    """It sleeps."""
    return Reason(
        code=Code.SLEEP,
        sentence=f"It sleeps ({step.key}) until {moment(step.until)}.",
        waiting_for=f"the end of its sleep {step.key}",
        name=step.name,
        step=step.key,
        since=step.started_at,
        until=step.until,
    )


def event(step: Step, waits: Iterable[Wait]) -> Reason:
    """It waits for an event, or for the first of several."""
    events = tuple(Alternative(event=wait.event, match=wait.match) for wait in waits)
    wanted = " or ".join(alternative_words(each) for each in events) or f"an event ({step.key})"
    names = " or ".join(dict.fromkeys(each.event for each in events)) or step.key
    return Reason(
        code=Code.EVENT,
        sentence=f"It waits for {wanted}{at_most_until(step.until)}.",
        waiting_for=f"event {names}",
        name=step.name,
        step=step.key,
        since=step.started_at,
        until=step.until,
        events=events,
    )


def alternative_words(each: Alternative) -> str:
    """An event and what must be in it."""
    match = " and ".join(f"{path} = {plain(value)}" for path, value in each.match.items())
    return f"event {each.event} with {match}" if match else f"event {each.event}"


def child(step: Step) -> Reason:
    """It waits for the end of a task that it made."""
    made = step.child
    who = (
        f"task {made.pk} of {made.pipeline_id}, which is {made.status}" if made is not None else f"a task ({step.key})"
    )
    return Reason(
        code=Code.CHILD,
        sentence=f"It waits for {who}{at_most_until(step.until)}.",
        waiting_for=f"its child {made.pipeline_id}" if made is not None else "its child",
        name=made.pipeline_id if made is not None else None,
        step=step.key,
        since=step.started_at,
        until=step.until,
        holders=(holder(made),) if made is not None else (),
    )


def parallel_steps(steps: Sequence[Step], together: int) -> Reason:
    """It waits for steps that run beside each other."""
    made = [step.child for step in steps if step.child is not None]
    states = Counter(f"{task.status} at {task.blocked_on}" if task.blocked_on else task.status for task in made)
    words = ", ".join(f"{number:,} {state}" for state, number in sorted(states.items()))
    count = "1 parallel step" if len(steps) == 1 else f"{len(steps):,} parallel steps"
    return Reason(
        code=Code.PARALLEL_STEPS,
        sentence=f"It waits for {len(steps):,} of {together:,} parallel steps{f' ({words})' if words else ''}.",
        waiting_for=count,
        step=steps[0].key,
        since=min(step.started_at for step in steps),
        taken=len(steps),
        limit=together,
    )


def unknown(task: Task) -> Reason:
    """It waits, and nothing says what for: a moment between two commits."""
    return Reason(code=Code.QUEUED, sentence="It is about to go on.", waiting_for="a free worker", until=task.due_at)


def holder(task: Task) -> Holder:
    """A task in the way."""
    return Holder(
        id=task.pk, pipeline=task.pipeline_id, status=task.status, since=task.slot_acquired_at or task.created_at
    )


def moment(when: datetime | None) -> str:
    """A time for people."""
    return "an unknown time" if when is None else f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def at_most_until(when: datetime | None) -> str:
    """The end of a wait, if it has one."""
    return f", until {moment(when)} at the latest" if when is not None else ""


def because(cause: str) -> str:
    """The end of a sentence, with a cause if there is one."""
    line = next((line.strip() for line in cause.splitlines() if line.strip()), "")
    line = line if len(line) <= 200 else line[:199] + "…"
    return f": {line}" if line and line[-1] in ".!?…" else f": {line}." if line else "."


def plain(value: Any) -> str:
    """A JSON value for people."""
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def length(span: timedelta) -> str:
    """A length of time for people, in its largest unit."""
    seconds = max(span.total_seconds(), 0.0)
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            number = round(seconds / size)
            return f"{number} {unit}{'s' * (number != 1)}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
