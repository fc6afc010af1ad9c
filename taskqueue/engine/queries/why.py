"""Why a task is not running: its reasons, from at most seven queries that each use an index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import F, Q

from taskqueue.engine import sql
from taskqueue.engine.queries import reasons, task_state
from taskqueue.engine.queries.blockers import HOLDERS_SHOWN, Blockers, concurrency_limit_of, effective, rate_text
from taskqueue.engine.queries.reasons import Code, Holder, Reason, cause_suffix, time_text
from taskqueue.engine.queries.task_state import TaskState
from taskqueue.engine.runtime.outcomes import STEP_LIMIT
from taskqueue.models import Attempt, RateLimit, RateLimitBucket, Step, StepSlot, Task
from taskqueue.policies import KeyTemplate
from taskqueue.states import ENDED, StepKind, StepStatus, TaskStatus


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a task is not running at a moment; the strongest reason comes first."""

    id: UUID
    pipeline: str
    status: str
    as_of: datetime
    reasons: tuple[Reason, ...]


def why(task_id: UUID) -> Explanation:
    """Why a task is not running; at most seven queries.

    Raises:
        TaskNotFound
    """
    state = task_state.read(task_id)
    return Explanation(
        id=state.task.pk,
        pipeline=state.task.pipeline_id,
        status=state.task.status,
        as_of=state.now,
        reasons=tuple(reasons_of(state)),
    )


def waiting_for(state: TaskState, pending: Sequence[Step]) -> str | None:
    """In a few words, what has to happen before a task goes on; at most one query.

    Args:
        state: the task's state.
        pending: its pending steps; without waiting parallel steps, which `state` counts.
    """
    task = state.task
    if task.status in ENDED or task.status == TaskStatus.RUNNING:
        return None
    if task.status == TaskStatus.QUEUED:
        return Blockers.read(task).first().waiting_for
    # No reason: the task went on after `state` was read.
    return next(own_reasons(state, pending, in_short=True), reasons.unknown(task)).waiting_for


def reasons_of(state: TaskState) -> Iterator[Reason]:
    task = state.task
    if task.status in ENDED:
        yield reasons.ended(task)
    elif task.status == TaskStatus.RUNNING:
        yield reasons.running(task)
    elif task.status == TaskStatus.QUEUED:
        yield from Blockers.read(task).all()
    else:
        yield from own_reasons(state, task_state.pending_steps(task.pk, with_parallel=True))
        # These will block the task when its wait is over.
        yield from Blockers.read(task).permanent()


def own_reasons(state: TaskState, pending: Sequence[Step], *, in_short: bool = False) -> Iterator[Reason]:
    """The reasons of a scheduled, retrying or waiting task; `in_short` without the queries for details."""
    task = state.task
    if task.status == TaskStatus.SCHEDULED:
        yield reasons.scheduled(task)
    elif task.status == TaskStatus.RETRYING:
        yield retrying(task, pending, in_short=in_short)
    elif task.blocked_on == STEP_LIMIT:
        yield step_limit(task, in_short=in_short)
    elif task.blocked_on:
        yield rate(state, pending, in_short=in_short)
    else:
        yield from open_waits(state, pending, in_short=in_short)


def open_waits(state: TaskState, pending: Sequence[Step], *, in_short: bool) -> Iterator[Reason]:
    """The sleeps, events, children and parallel steps that a task waits for."""
    steps = [step for step in pending if step.status == StepStatus.WAITING]
    events = task_state.event_waits(state.task.pk) if any(step.kind == StepKind.WAIT for step in steps) else []
    for step in steps:
        if step.kind == StepKind.SLEEP:
            yield reasons.sleep(step)
        elif step.kind == StepKind.WAIT:
            yield reasons.event(step, [wait for wait in events if wait.step_key == step.key])
        elif step.kind == StepKind.CHILD:
            yield reasons.child(step)
    parallel = [step for step in steps if step.kind == StepKind.PARALLEL]
    if parallel:
        yield reasons.parallel_steps(parallel, parallel_total(state.task, parallel))
    elif in_short and state.parallel:
        yield reasons.parallel_steps_in_short(state.parallel)
    elif not steps:
        yield reasons.unknown(state.task)


def retrying(task: Task, pending: Sequence[Step], *, in_short: bool) -> Reason:
    failing = next((step for step in pending if step.status == StepStatus.RETRYING), None)
    if failing is not None or in_short:
        return reasons.retrying(task, failing, (failing.error if failing is not None else None) or {})
    # The body failed. No step records its error, but the last attempt does.
    last = Attempt.objects.filter(task=task, step_key="").order_by("-number").first()
    error = {} if last is None else {"type": last.error_type, "message": last.error_message}
    return reasons.retrying(task, None, error)


def rate(state: TaskState, pending: Sequence[Step], *, in_short: bool) -> Reason:
    """A rate gave a later time to the task's start or, after its start, to a step's call."""
    task, name = state.task, state.task.blocked_on
    subject = "start" if task.started_at is None else "call"
    waiting_for = f"its {subject} at rate {name}"
    if in_short:
        return Reason(code=Code.RATE, sentence="", waiting_for=waiting_for)
    step = next((step for step in pending if step.kind == StepKind.STEP and step.status == StepStatus.WAITING), None)
    limit = RateLimit.objects.filter(name=name).first()
    key = rate_key_of(task, step, limit)
    bucket = RateLimitBucket.objects.filter(rate=name, key=key or "").first()
    allowed = f", which allows {rate_text(limit.effective)}" if limit is not None else ""
    sentences = [f"Its {subject} at rate {name}{allowed}, is at {time_text(task.due_at)}."]
    cause = None
    if bucket is not None and is_blocked(bucket, state):
        cause = bucket.block_reason or None
        sentences.append(
            f"The rate is blocked until {time_text(bucket.blocked_until)}{cause_suffix(bucket.block_reason)}"
        )
    ahead, is_more = reserved_before(task, key)
    if ahead is not None:
        number = f"At least {ahead:,}" if is_more else f"{ahead:,}"
        sentences.append(f"{number} {'task has' if ahead == 1 else 'tasks have'} an earlier time.")
    return Reason(
        code=Code.RATE,
        sentence=" ".join(sentences),
        waiting_for=waiting_for,
        name=name,
        step=step.key if step is not None else None,
        until=task.due_at,
        key=key,
        cause=cause,
        ahead=ahead,
        ahead_is_more=is_more,
    )


def is_blocked(bucket: RateLimitBucket, state: TaskState) -> bool:
    """Whether a rate is blocked now, and the task has a time at it."""
    until = bucket.blocked_until
    return until is not None and state.task.due_at is not None and until > state.now


def rate_key_of(task: Task, step: Step | None, limit: RateLimit | None) -> str | None:
    """The task's value of the rate's key; None if the rate has no key."""
    if limit is None or not limit.key:
        return None
    if step is None:
        return task.concurrency_key
    return KeyTemplate(limit.key).render(step.input or {}, task.labels)


def reserved_before(task: Task, key: str | None) -> tuple[int | None, bool]:
    """How many tasks have an earlier time at the rate, and whether there are more; None if no index tells."""
    if key is not None and task.started_at is not None:
        return None, False
    values = {"rate": task.blocked_on, "pipeline": task.pipeline_id, "concurrency_key": key, "due_at": task.due_at}
    ((reserved, were_all),) = sql.fetch(sql.RATE_QUEUE_POSITION, values)
    return (reserved, not were_all) if reserved or were_all else (None, False)


def step_limit(task: Task, *, in_short: bool) -> Reason:
    """The pipeline, or the task's key, executes as many steps as its limit allows."""
    waiting_for = "a free step slot"
    if in_short:
        return Reason(code=Code.STEP_LIMIT, sentence="", waiting_for=waiting_for)
    declared = concurrency_limit_of(task)
    total = effective(declared, "steps")
    per_key = effective(declared, "steps_per_key") if task.concurrency_key else None
    slots = executing(task)
    of_key = [slot for slot in slots if slot.concurrency_key == task.concurrency_key]
    is_by_key = per_key is not None and len(of_key) >= per_key and (total is None or len(slots) < total)
    limit, used = (per_key, of_key) if is_by_key else (total, slots)
    key = f'key "{task.concurrency_key}" in ' if is_by_key else ""
    subject = f"of {key}pipeline {task.pipeline_id}"
    allowed = f"The number of steps {subject} that execute at a time was limited"
    if limit:
        allowed = f"At most {limit:,} {'step' if limit == 1 else 'steps'} {subject} may execute at a time"
    return Reason(
        code=Code.STEP_LIMIT,
        sentence=f"{allowed}; {len(used):,} {'does' if len(used) == 1 else 'do'} now.",
        waiting_for=waiting_for,
        name=task.pipeline_id,
        limit=limit,
        taken=len(used),
        key=task.concurrency_key if is_by_key else None,
        holders=tuple(holder_of(slot) for slot in used[:HOLDERS_SHOWN]),
    )


def executing(task: Task) -> list[StepSlot]:
    """The step slots of the pipeline whose task has the slot's lease, or is about to be claimed with it."""
    running = Q(task__status=TaskStatus.RUNNING, task__lease=F("lease"))
    granted = Q(task__status=TaskStatus.QUEUED, task__lease=F("lease") - 1)
    slots = StepSlot.objects.filter(running | granted, pipeline=task.pipeline_id).order_by("pk")
    columns = ("pipeline", "status", "started_at", "parallel_step", "parent")
    return list(
        slots.select_related("task").only("concurrency_key", "step_key", *(f"task__{name}" for name in columns))
    )


def holder_of(slot: StepSlot) -> Holder:
    """The task that holds a step slot; for a parallel step its parent."""
    task = slot.task
    shown = (task.parent_id or task.pk) if task.parallel_step else task.pk
    return Holder(shown, task.pipeline_id, task.status, task.started_at)


def parallel_total(task: Task, steps: Sequence[Step]) -> int:
    """The number of parallel steps that were recorded in a row around the unfinished ones."""
    kinds = list(Step.objects.filter(task=task).order_by("pk").values_list("pk", "kind"))
    positions = {pk: position for position, (pk, _kind) in enumerate(kinds)}
    first, last = positions[steps[0].pk], positions[steps[-1].pk]
    while first > 0 and kinds[first - 1][1] == StepKind.PARALLEL:
        first -= 1
    while last + 1 < len(kinds) and kinds[last + 1][1] == StepKind.PARALLEL:
        last += 1
    return last - first + 1
