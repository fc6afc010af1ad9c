"""Blockers: what keeps a queued task from being claimed, the strongest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from taskqueue.engine import sql
from taskqueue.engine.queries.reasons import Code, Holder, Reason, cause_suffix, duration_text, time_text
from taskqueue.engine.runtime.liveness import HEARTBEAT_TIMEOUT
from taskqueue.models import ConcurrencyLimit, Task

HOLDERS_SHOWN = 20
SECOND = timedelta(seconds=1)
RESERVED_AHEAD = timedelta(minutes=1)
"""How far ahead admission reserves starts, if the rate's interval is not longer."""


@dataclass(frozen=True)
class Blockers:
    """The state that may block a queued task, from one query.

    Attributes:
        workers: live workers. Of them `knowing` know the pipeline, and `takers` take its queue.
        capable: takers that know the pipeline and claim tasks; `draining` know it and claim none, and `failing` know it
            and their claims fail.
        busy: takers that run a task.
        slots_used: concurrency slots in use, counted up to the limit; `slots_used_by_key` those of the task's key.
        theoretical_arrival_at: up to this time the rate of the pipeline's starts is reserved.
        now: the database's time.
    """

    task: Task
    workers: int
    knowing: int
    takers: int
    capable: int
    draining: int
    failing: int
    busy: int
    slots_used: int
    slots_used_by_key: int
    theoretical_arrival_at: datetime | None
    blocked_until: datetime | None
    block_reason: str
    now: datetime

    @classmethod
    def read(cls, task: Task) -> Blockers:
        """Read what may block a task; one query."""
        limit = concurrency_limit_of(task)
        values = {
            "pipeline": task.pipeline_id,
            "queue": task.effective_queue,
            "concurrency_key": task.concurrency_key,
            "heartbeat_timeout": HEARTBEAT_TIMEOUT,
            "most": effective(limit, "tasks"),
            "most_per_key": effective(limit, "tasks_per_key"),
            "rate": limit.rate_id if limit is not None else None,
            "rate_key": task.concurrency_key if limit is not None and limit.rate_is_keyed else "",
        }
        (row,) = sql.fetch(sql.BLOCKERS, values)
        return cls(task, *row)

    def first(self) -> Reason:
        """The strongest reason, without details: enough for the status."""
        return next(self.all(with_details=False))

    def all(self, *, with_details: bool = True) -> Iterator[Reason]:
        """All reasons; the last is the task's position in the queue.

        Args:
            with_details: also read the tasks that hold the slots, and how many tasks go first.
        """
        yield from self.permanent()
        if self._needs_slot:
            yield from self.limits_reached(with_details=with_details)
            yield from self.rate_exhausted()
        if with_details:
            yield self.queue_position()
        else:
            yield Reason(code=Code.QUEUED, sentence="", waiting_for="a free worker")

    @property
    def _queue(self) -> str:
        return self.task.effective_queue

    @property
    def _needs_slot(self) -> bool:
        return self.task.slot_acquired_at is None and not self.task.shares_slot

    def permanent(self) -> Iterator[Reason]:
        """What blocks every task of the pipeline until an operator acts: a pause, or no worker."""
        pipeline = self.task.pipeline
        if pipeline.paused_at is not None:
            by = f" by {pipeline.paused_by}" if pipeline.paused_by else ""
            when = f"at {time_text(pipeline.paused_at)}{cause_suffix(pipeline.pause_reason)}"
            yield Reason(
                code=Code.PAUSED,
                sentence=f"Pipeline {pipeline.pk} was paused{by} {when}",
                waiting_for="its pipeline to be resumed",
                name=pipeline.pk,
                since=pipeline.paused_at,
                by=pipeline.paused_by or None,
                cause=pipeline.pause_reason or None,
            )
        if self.capable == 0:
            yield Reason(
                code=Code.NO_WORKER,
                sentence=self._no_worker_sentence(),
                waiting_for=self._missing_worker(),
                name=pipeline.pk,
                workers=self.workers,
                workers_busy=self.busy,
            )

    def _missing_worker(self) -> str:
        if not self.workers:
            return "a live worker"
        return "a worker that knows its pipeline" if self.takers else f"a worker that takes queue {self._queue}"

    def _no_worker_sentence(self) -> str:
        name = self.task.pipeline_id
        if idle := self.failing or self.draining:
            subject = "The one live worker that knows" if idle == 1 else f"All {idle} live workers that know"
            if self.failing:
                return f"{subject} pipeline {name} cannot claim tasks. The list of workers says why."
            return f"{subject} pipeline {name} {'drains' if idle == 1 else 'drain'}. Resume one, or start another."
        if self.workers == 0:
            return "No worker is alive. Start one: manage.py worker."
        if self.takers == 0:
            return f"No live worker takes queue {self._queue}. Start one: manage.py worker --queues {self._queue}."
        if self.knowing:
            return f"No live worker that takes queue {self._queue} knows pipeline {name}."
        one = "The one live worker does not know"
        subject = one if self.workers == 1 else f"None of {self.workers} live workers knows"
        return f"{subject} pipeline {name}. Start one with the code that defines it."

    def limits_reached(self, *, with_details: bool) -> Iterator[Reason]:
        limit, name, key = concurrency_limit_of(self.task), self.task.pipeline_id, self.task.concurrency_key
        total, per_key = effective(limit, "tasks"), effective(limit, "tasks_per_key")
        if total is not None and self.slots_used >= total:
            yield self._limit(f"Pipeline {name}", total, None, with_details=with_details)
        if per_key is not None and key and self.slots_used_by_key >= per_key:
            yield self._limit(f'Key "{key}" of pipeline {name}', per_key, key, with_details=with_details)

    def _limit(self, subject: str, limit: int, key: str | None, *, with_details: bool) -> Reason:
        return Reason(
            code=Code.LIMIT,
            sentence=f"{subject} is at its concurrency limit ({limit:,} of {limit:,}).",
            waiting_for="a free slot",
            name=self.task.pipeline_id,
            limit=limit,
            taken=limit,
            key=key,
            holders=holders_of(self.task.pipeline_id, key) if with_details else (),
        )

    def rate_exhausted(self) -> Iterator[Reason]:
        """The rate of starts has no free time within the next minute."""
        limit = concurrency_limit_of(self.task)
        if limit is None or limit.rate is None or self.theoretical_arrival_at is None:
            return
        rate = limit.rate.effective
        free_at = max(filter(None, [self.theoretical_arrival_at - rate.tolerance, self.blocked_until]))
        if free_at <= self.now + max(RESERVED_AHEAD, rate.interval):
            return
        is_blocked = self.blocked_until is not None and self.blocked_until >= free_at
        sentence = (
            f"Starts are limited to {rate_text(rate)} by rate {limit.rate_id}; the next free start is at "
            f"{time_text(free_at)}."
        )
        if is_blocked:
            sentence += f" The rate is blocked until {time_text(self.blocked_until)}{cause_suffix(self.block_reason)}"
        yield Reason(
            code=Code.THROTTLE,
            sentence=sentence,
            waiting_for=f"a start at rate {limit.rate_id}",
            name=limit.rate_id,
            until=free_at,
            cause=self.block_reason if is_blocked and self.block_reason else None,
            key=self.task.concurrency_key if limit.rate_is_keyed else None,
        )

    def queue_position(self) -> Reason:
        """The task's position in the queue, with an estimate of its start if one is possible."""
        task = self.task
        values = {
            "pipeline": task.pipeline_id,
            "started_queue": task.started_queue,
            "concurrency_key": task.concurrency_key,
            "sort_at": task.sort_at,
            "task": task.pk,
        }
        ((counted, starts, seconds),) = sql.fetch(sql.QUEUE_POSITION, values)
        ahead, is_more = min(counted, sql.QUEUE_COUNT_CAP), counted > sql.QUEUE_COUNT_CAP
        number = f"More than {ahead:,} tasks" if is_more else "1 task" if ahead == 1 else f"{ahead:,} tasks"
        sentences = [
            f"{number} of its queue {'goes' if ahead == 1 else 'go'} before it." if ahead else "It is the next one."
        ]
        expected_at = None
        # At a reached limit the last starts predict nothing: the running tasks may hold their slots for hours.
        is_full = self._needs_slot and any(self.limits_reached(with_details=False))
        may_start = self.capable and task.pipeline.paused_at is None and not is_full
        if starts and may_start and not is_more and task.started_at is None:
            wait = timedelta(seconds=(ahead + 1) * max(seconds, 0.001) / starts)
            expected_at = self.now + wait
            estimate = duration_text(max(wait, SECOND))
            sentences.append(f"Estimated from the last 5 minutes, it starts in about {estimate}.")
        if self.capable:
            of_queue = "" if self.takers == self.workers else f" that take queue {self._queue}"
            verb = "is" if self.busy == 1 else "are"
            sentences.append(f"{self.busy} of {self.takers} live workers{of_queue} {verb} busy.")
        return Reason(
            code=Code.QUEUED,
            sentence=" ".join(sentences),
            waiting_for="a free worker",
            name=task.pipeline_id,
            ahead=ahead,
            ahead_is_more=is_more,
            expected_at=expected_at,
            workers=self.takers,
            workers_busy=self.busy,
        )


def holders_of(pipeline: str, key: str | None) -> tuple[Holder, ...]:
    """Up to 20 tasks that hold concurrency slots, the oldest of them first."""
    values = {"pipeline": pipeline, "concurrency_key": key, "most": HOLDERS_SHOWN}
    holders = [Holder(*row) for row in sql.fetch(sql.SLOT_HOLDERS, values)]
    return tuple(sorted(holders, key=lambda holder: (holder.since, holder.id)))


def concurrency_limit_of(task: Task) -> ConcurrencyLimit | None:
    limit: Any = getattr(task.pipeline, "concurrency_limit", None)
    return limit if isinstance(limit, ConcurrencyLimit) else None


def effective(limit: ConcurrencyLimit | None, name: str) -> int | None:
    """A limit: the operator's value, else the declared one; None if there is none."""
    value: int | None = getattr(limit, name, None) or getattr(limit, f"declared_{name}", None)
    return value


def rate_text(rate: Any) -> str:
    """A rate as text, such as "60 per minute"."""
    return f"{rate.count:,} per {duration_text(rate.per).removeprefix('1 ')}"
