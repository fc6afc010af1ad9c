"""Obstacles: what keeps a queued task from being claimed; the hardest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from taskqueue.engine import sql
from taskqueue.engine.queries.reasons import Code, Holder, Reason, because, length, moment
from taskqueue.engine.runtime.liveness import SILENCE
from taskqueue.models import ConcurrencyLimit, Task

HOLDERS_SHOWN = 20
SECOND = timedelta(seconds=1)
AHEAD = timedelta(minutes=1)
"""How far ahead the gates book starts, if an interval is not longer."""


@dataclass(frozen=True)
class Obstacles:
    """What was read at once.

    Attributes:
        workers: live workers; `knowing` of them know the pipeline and take tasks, `draining` know it and take none any
            more, `unable` know it and fail to claim, and `busy` have a task.
        taken: places that are taken, counted up to the limit; `taken_by_key` those of the task's key.
        booked_at: how far the rate of its pipeline's starts is used up.
        now: the database's time.
    """

    task: Task
    workers: int
    knowing: int
    draining: int
    unable: int
    busy: int
    taken: int
    taken_by_key: int
    booked_at: datetime | None
    blocked_until: datetime | None
    block_reason: str
    now: datetime

    @classmethod
    def read(cls, task: Task) -> Obstacles:
        """What may stand in the way of this task; one query."""
        concurrency_limit = concurrency_limit_of(task)
        values = {
            "pipeline": task.pipeline_id,
            "concurrency_key": task.concurrency_key,
            "silence": SILENCE,
            "most": most_of(concurrency_limit),
            "most_per_key": most_per_key_of(concurrency_limit),
            "rate": concurrency_limit.rate_id if concurrency_limit is not None else None,
            "rate_key": task.concurrency_key
            if concurrency_limit is not None and concurrency_limit.rate_is_keyed
            else "",
        }
        (row,) = sql.fetch(sql.OBSTACLES, values)
        return cls(task, *row)

    def first(self) -> Reason:
        """The hardest one: what a status says in a few words."""
        return next(self.all(with_facts=False))

    def all(self, *, with_facts: bool = True) -> Iterator[Reason]:
        """Each of them; its place in the queue is the last.

        Args:
            with_facts: also read who holds the places, and what goes before it.
        """
        yield from self.standing()
        if self.task.slot_acquired_at is None and not self.task.shares_slot:
            yield from self.full(with_facts=with_facts)
            yield from self.booked_up()
        yield turn(self) if with_facts else Reason(code=Code.QUEUED, sentence="", waiting_for="a free worker")

    def standing(self) -> Iterator[Reason]:
        """What keeps every task of the pipeline: a pause, or that nobody's code knows it."""
        yield from paused(self.task)
        if self.knowing == 0:
            yield self.no_worker()

    def no_worker(self) -> Reason:
        """Nobody can run it."""
        name = self.task.pipeline_id
        if idle := self.unable or self.draining:
            who = "The one live worker that knows" if idle == 1 else f"All {idle} live workers that know"
            drains = "drains" if idle == 1 else "drain"
            remedy = f"{drains}. Resume one, or start another."
            if self.unable:
                remedy = "cannot claim tasks. The list of workers says why."
            sentence = f"{who} pipeline {name} {remedy}"
        elif self.workers == 0:
            sentence = "No worker is alive. Start one: manage.py worker."
        else:
            who = (
                "The one live worker does not know"
                if self.workers == 1
                else f"None of {self.workers} live workers knows"
            )
            sentence = f"{who} pipeline {name}. Start one with the code that defines it."
        waiting_for = "a worker that knows its pipeline" if self.workers else "a live worker"
        return Reason(
            code=Code.NO_WORKER,
            sentence=sentence,
            waiting_for=waiting_for,
            name=name,
            workers=self.workers,
            workers_busy=self.busy,
        )

    def full(self, *, with_facts: bool) -> Iterator[Reason]:
        """All places are taken, in all or those of its key."""
        concurrency_limit, name, key = concurrency_limit_of(self.task), self.task.pipeline_id, self.task.concurrency_key
        in_all, by_key = most_of(concurrency_limit), most_per_key_of(concurrency_limit)
        if in_all is not None and self.taken >= in_all:
            yield self.limit(f"pipeline {name}", in_all, None, with_facts=with_facts)
        if by_key is not None and key and self.taken_by_key >= by_key:
            yield self.limit(f'key "{key}" in pipeline {name}', by_key, key, with_facts=with_facts)

    def limit(self, whose: str, most: int, key: str | None, *, with_facts: bool) -> Reason:
        """A limit of whole tasks that is used up."""
        places = "The only place" if most == 1 else f"All {most:,} places"
        return Reason(
            code=Code.LIMIT,
            sentence=f"{places} of {whose} {'is' if most == 1 else 'are'} taken.",
            waiting_for="a free place",
            name=self.task.pipeline_id,
            limit=most,
            taken=most,
            key=key,
            holders=holders_of(self.task.pipeline_id, key) if with_facts else (),
        )

    def booked_up(self) -> Iterator[Reason]:
        """The rate of starts has given away all times that it gives so far ahead."""
        concurrency_limit = concurrency_limit_of(self.task)
        if concurrency_limit is None or concurrency_limit.rate is None or self.booked_at is None:
            return
        rate = concurrency_limit.rate.effective
        free_at = max(filter(None, [self.booked_at - rate.tolerance, self.blocked_until]))
        if free_at <= self.now + max(AHEAD, rate.interval):
            return
        held = self.blocked_until is not None and self.blocked_until >= free_at
        why = f" It is held until {moment(self.blocked_until)}{because(self.block_reason)}" if held else ""
        yield Reason(
            code=Code.THROTTLE,
            sentence=f"Starts are limited to {rate_words(rate)} by rate {concurrency_limit.rate_id}; "
            f"the next free one is at "
            f"{moment(free_at)}.{why}",
            waiting_for=f"a start at rate {concurrency_limit.rate_id}",
            name=concurrency_limit.rate_id,
            until=free_at,
            cause=self.block_reason if held and self.block_reason else None,
            key=self.task.concurrency_key if concurrency_limit.rate_is_keyed else None,
        )


def paused(task: Task) -> Iterator[Reason]:
    """People have paused its pipeline."""
    pipeline = task.pipeline
    if pipeline.paused_at is None:
        return
    by = f" by {pipeline.paused_by}" if pipeline.paused_by else ""
    when = f"at {moment(pipeline.paused_at)}{because(pipeline.pause_reason)}"
    yield Reason(
        code=Code.PAUSED,
        sentence=f"Pipeline {pipeline.pk} was paused{by} {when}",
        waiting_for="its pipeline to be resumed",
        name=pipeline.pk,
        since=pipeline.paused_at,
        by=pipeline.paused_by or None,
        cause=pipeline.pause_reason or None,
    )


def turn(found: Obstacles) -> Reason:
    """Its place in the queue, and an estimate of its start where there is something to estimate from."""
    task = found.task
    values = {
        "pipeline": task.pipeline_id,
        "concurrency_key": task.concurrency_key,
        "sort_at": task.sort_at,
        "task": task.pk,
    }
    ((counted, starts, seconds),) = sql.fetch(sql.QUEUE, values)
    ahead, is_more = min(counted, sql.COUNTED), counted > sql.COUNTED
    number = f"More than {ahead:,} tasks" if is_more else "1 task" if ahead == 1 else f"{ahead:,} tasks"
    sentences = [
        f"{number} of its queue {'goes' if ahead == 1 else 'go'} before it." if ahead else "It is the next one."
    ]
    expected_at = None
    # Before a full limit the starts of the past say nothing: who holds the places may do so for hours.
    is_full = task.slot_acquired_at is None and not task.shares_slot and any(found.full(with_facts=False))
    may_start = found.knowing and task.pipeline.paused_at is None and not is_full
    if starts and may_start and not is_more and task.started_at is None:
        wait = timedelta(seconds=(ahead + 1) * max(seconds, 0.001) / starts)
        expected_at = found.now + wait
        sentences.append(
            f"By the starts of the last 5 minutes it begins in about {length(max(wait, SECOND))} (an estimate)."
        )
    if found.knowing:
        sentences.append(f"{found.busy} of {found.workers} live workers {'is' if found.busy == 1 else 'are'} busy.")
    return Reason(
        code=Code.QUEUED,
        sentence=" ".join(sentences),
        waiting_for="a free worker",
        name=task.pipeline_id,
        ahead=ahead,
        ahead_is_more=is_more,
        expected_at=expected_at,
        workers=found.workers,
        workers_busy=found.busy,
    )


def holders_of(pipeline: str, key: str | None) -> tuple[Holder, ...]:
    """Up to 20 tasks that hold places; the oldest of them first."""
    values = {"pipeline": pipeline, "concurrency_key": key, "most": HOLDERS_SHOWN}
    rows = sql.fetch(sql.HOLDERS, values)
    return tuple(
        Holder(id=pk, pipeline=name, status=status, since=since)
        for pk, name, status, since in sorted(rows, key=lambda row: (row[3], row[0]))
    )


def concurrency_limit_of(task: Task) -> ConcurrencyLimit | None:
    """The limits of its pipeline."""
    concurrency_limit: Any = getattr(task.pipeline, "concurrency_limit", None)
    return concurrency_limit if isinstance(concurrency_limit, ConcurrencyLimit) else None


def most_of(concurrency_limit: ConcurrencyLimit | None) -> int | None:
    """How many whole tasks may be under way."""
    return None if concurrency_limit is None else concurrency_limit.tasks or concurrency_limit.declared_tasks


def most_per_key_of(concurrency_limit: ConcurrencyLimit | None) -> int | None:
    """How many of each key."""
    return (
        None
        if concurrency_limit is None
        else concurrency_limit.tasks_per_key or concurrency_limit.declared_tasks_per_key
    )


def rate_words(rate: Any) -> str:
    """A rate for people."""
    return f"{rate.count:,} per {length(rate.per).removeprefix('1 ')}"
