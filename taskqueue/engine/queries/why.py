"""Why: what keeps a task from running, in words and facts; a fixed small number of queries, each by an index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from taskqueue.engine import sql
from taskqueue.engine.queries import reasons
from taskqueue.engine.queries.blockers import HOLDERS_SHOWN, Obstacles, concurrency_limit_of, rate_words
from taskqueue.engine.queries.reasons import Code, Holder, Reason, because, moment
from taskqueue.engine.runtime.outcomes import STEP_LIMIT
from taskqueue.errors import TaskNotFound
from taskqueue.models import Attempt, RateLimit, RateLimitBucket, Step, StepSlot, Task, Wait
from taskqueue.policies import KeyTemplate
from taskqueue.states import ENDED, StepKind, StepStatus, TaskStatus


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a task is not running, as of a moment.

    Attributes:
        reasons: what it waits for; of several things that keep it, the hardest comes first.
    """

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
    task = explained_tasks().annotate(seen_at=Now()).filter(pk=task_id, parallel_step="").first()
    if task is None:
        raise TaskNotFound(task_id)
    return Explanation(
        id=task.pk,
        pipeline=task.pipeline_id,
        status=task.status,
        as_of=task.seen_at,
        reasons=tuple(reasons_of(task)),
    )


def explained_tasks() -> QuerySet[Task]:
    """Tasks with what an explanation reads of their pipelines and workers, and without their data."""
    return Task.objects.select_related("worker", "pipeline__concurrency_limit__rate").defer(
        "payload",
        "result",
        "pipeline__payload_schema",
        "pipeline__payload_example",
        "pipeline__result_schema",
        "pipeline__policies",
        "pipeline__description",
        "pipeline__retry",
    )


def waiting_for(task: Task, pending: Sequence[Step]) -> str | None:
    """In a few words, what has to happen before a task goes on; at most one query.

    Args:
        task: read with `explained_tasks`.
        pending: its steps that wait or are tried again, in order, each with its child.
    """
    if task.status in ENDED or task.status == TaskStatus.RUNNING:
        return None
    if task.status == TaskStatus.QUEUED:
        return Obstacles.read(task).first().waiting_for
    return next(own_reasons(task, pending, in_short=True)).waiting_for


def reasons_of(task: Task) -> Iterator[Reason]:
    """All reasons of a task."""
    if task.status in ENDED:
        yield reasons.ended(task)
    elif task.status == TaskStatus.RUNNING:
        yield reasons.running(task)
    elif task.status == TaskStatus.QUEUED:
        yield from Obstacles.read(task).all()
    else:
        yield from own_reasons(task, pending_of(task))
        # What will keep it when that is over.
        yield from Obstacles.read(task).standing()


def own_reasons(task: Task, pending: Sequence[Step], *, in_short: bool = False) -> Iterator[Reason]:
    """What a task that is neither queued nor running waits for.

    Args:
        in_short: only the few words are wanted, so that the facts behind them need not be read.
    """
    if task.status == TaskStatus.SCHEDULED:
        yield reasons.scheduled(task)
    elif task.status == TaskStatus.RETRYING:
        yield retrying(task, pending, in_short=in_short)
    elif task.blocked_on == STEP_LIMIT:
        yield step_limit(task, in_short=in_short)
    elif task.blocked_on:
        yield rate(task, pending, in_short=in_short)
    else:
        yield from waits(task, pending, in_short=in_short)


def waits(task: Task, pending: Sequence[Step], *, in_short: bool) -> Iterator[Reason]:
    """The pauses of a waiting task."""
    open_steps = [step for step in pending if step.status == StepStatus.WAITING]
    open_waits = waits_of(task) if any(step.kind == StepKind.WAIT for step in open_steps) else []
    for step in open_steps:
        if step.kind == StepKind.SLEEP:
            yield reasons.sleep(step)
        elif step.kind == StepKind.WAIT:
            yield reasons.event(step, [wait for wait in open_waits if wait.step_key == step.key])
        elif step.kind == StepKind.CHILD:
            yield reasons.child(step)
    beside = [step for step in open_steps if step.kind == StepKind.PARALLEL]
    if beside:
        yield reasons.parallel_steps(beside, len(beside) if in_short else together(task, beside))
    if not open_steps:
        yield reasons.unknown(task)


def retrying(task: Task, pending: Sequence[Step], *, in_short: bool) -> Reason:
    """The failed try; of the body, whose errors no step keeps, the last one is looked up."""
    failing = next((step for step in pending if step.status == StepStatus.RETRYING), None)
    if failing is not None or in_short:
        return reasons.retrying(task, failing, (failing.error if failing is not None else None) or {})
    last = Attempt.objects.filter(task=task, step_key="").order_by("-number").first()
    error = {} if last is None else {"type": last.error_type, "message": last.error_message}
    return reasons.retrying(task, None, error)


def rate(task: Task, pending: Sequence[Step], *, in_short: bool) -> Reason:
    """A rate has given it a later time: its start, when it has not started, else a step."""
    name = task.blocked_on
    step = next((step for step in pending if step.kind == StepKind.STEP and step.status == StepStatus.WAITING), None)
    what = "start" if task.started_at is None else "turn"
    if in_short:
        return Reason(code=Code.RATE, sentence="", waiting_for=f"its {what} at rate {name}")
    row = RateLimit.objects.filter(name=name).first()
    key = rate_key_of(task, step, row)
    use = RateLimitBucket.objects.filter(rate=name, key=key or "").first()
    allowed = f", which allows {rate_words(row.effective)}" if row is not None else ""
    sentences = [f"Its {what} at rate {name}{allowed}, is at {moment(task.due_at)}."]
    held = use if use is not None and use.blocked_until is not None and held_now(task, use) else None
    if held is not None:
        sentences.append(f"The rate is held until {moment(held.blocked_until)}{because(held.block_reason)}")
    ahead, is_more = booked_before(task, key)
    if ahead is not None:
        number = f"At least {ahead:,}" if is_more else f"{ahead:,}"
        sentences.append(f"{number} {'has' if ahead == 1 else 'have'} a time before it.")
    return Reason(
        code=Code.RATE,
        sentence=" ".join(sentences),
        waiting_for=f"its {what} at rate {name}",
        name=name,
        step=step.key if step is not None else None,
        until=task.due_at,
        key=key,
        cause=held.block_reason or None if held is not None else None,
        ahead=ahead,
        ahead_is_more=is_more,
    )


def held_now(task: Task, use: RateLimitBucket) -> bool:
    """Whether a hold is what gave the task its time."""
    return use.blocked_until is not None and task.due_at is not None and use.blocked_until > task.seen_at  # type: ignore[attr-defined]


def rate_key_of(task: Task, step: Step | None, row: RateLimit | None) -> str | None:
    """For which value of the rate's key it waits; None when the rate has none."""
    if row is None or not row.key:
        return None
    if step is None:
        return task.concurrency_key
    return KeyTemplate(row.key).render(step.input or {}, task.labels)


def booked_before(task: Task, key: str | None) -> tuple[int | None, bool]:
    """How many wait for the same rate with a time before it; None when that cannot be told by an index."""
    if key is not None and task.started_at is not None:
        return None, False
    values = {"rate": task.blocked_on, "pipeline": task.pipeline_id, "concurrency_key": key, "due_at": task.due_at}
    ((booked, were_all),) = sql.fetch(sql.BOOKED, values)
    return (booked, not were_all) if booked or were_all else (None, False)


def step_limit(task: Task, *, in_short: bool) -> Reason:
    """As many steps of its pipeline execute as may, in all or with its key."""
    if in_short:
        return Reason(code=Code.STEP_LIMIT, sentence="", waiting_for="a free place for its step")
    concurrency_limit = concurrency_limit_of(task)
    most = None if concurrency_limit is None else concurrency_limit.steps or concurrency_limit.declared_steps
    by_key = (
        None
        if concurrency_limit is None or not task.concurrency_key
        else concurrency_limit.steps_per_key or concurrency_limit.declared_steps_per_key
    )
    slots = executing(task)
    of_key = [slot for slot in slots if slot.concurrency_key == task.concurrency_key]
    is_by_key = by_key is not None and len(of_key) >= by_key and (most is None or len(slots) < most)
    limit, holding = (by_key, of_key) if is_by_key else (most, slots)
    whose = (
        f'key "{task.concurrency_key}" in pipeline {task.pipeline_id}' if is_by_key else f"pipeline {task.pipeline_id}"
    )
    allowed = (
        f"At most {limit:,} {'step' if limit == 1 else 'steps'} of {whose} may execute at a time"
        if limit
        else (f"The number of steps of {whose} that execute at a time was limited")
    )
    return Reason(
        code=Code.STEP_LIMIT,
        sentence=f"{allowed}; {len(holding):,} {'does' if len(holding) == 1 else 'do'} now.",
        waiting_for="a free place for its step",
        name=task.pipeline_id,
        limit=limit,
        taken=len(holding),
        key=task.concurrency_key if is_by_key else None,
        holders=tuple(holder_of(slot) for slot in holding[:HOLDERS_SHOWN]),
    )


def executing(task: Task) -> list[StepSlot]:
    """The steps of its pipeline that hold a place: those whose task has its lease, or is about to be given it."""
    under_way = Q(task__status=TaskStatus.RUNNING, task__lease=F("lease"))
    granted = Q(task__status=TaskStatus.QUEUED, task__lease=F("lease") - 1)
    slots = StepSlot.objects.filter(under_way | granted, pipeline=task.pipeline_id).order_by("pk")
    return list(
        slots.select_related("task").only(
            "concurrency_key",
            "step_key",
            "task__pipeline",
            "task__status",
            "task__started_at",
            "task__parallel_step",
            "task__parent",
        )
    )


def holder_of(slot: StepSlot) -> Holder:
    """The task whose step holds a place; of a parallel step the one for which it is done."""
    task = slot.task
    return Holder(
        id=(task.parent_id or task.pk) if task.parallel_step else task.pk,
        pipeline=task.pipeline_id,
        status=task.status,
        since=task.started_at,
    )


def pending_of(task: Task) -> list[Step]:
    """Its steps that wait or are tried again, in the order of recording, each with the task that does it."""
    pending = Step.objects.filter(task=task, status__in=[StepStatus.WAITING, StepStatus.RETRYING])
    return list(pending.select_related("child").defer("child__payload", "child__result").order_by("pk"))


def waits_of(task: Task) -> list[Wait]:
    """The events that would end its waits."""
    return list(Wait.objects.filter(task=task, outcome="").exclude(step_key="").order_by("step_key", "position"))


def together(task: Task, beside: Sequence[Step]) -> int:
    """The number of parallel steps recorded in a row around the open ones."""
    kinds = list(Step.objects.filter(task=task).order_by("pk").values_list("pk", "kind"))
    places = {pk: place for place, (pk, _kind) in enumerate(kinds)}
    first, last = places[beside[0].pk], places[beside[-1].pk]
    while first > 0 and kinds[first - 1][1] == StepKind.PARALLEL:
        first -= 1
    while last + 1 < len(kinds) and kinds[last + 1][1] == StepKind.PARALLEL:
        last += 1
    return last - first + 1
