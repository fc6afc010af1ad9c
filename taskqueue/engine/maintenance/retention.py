"""Retention: what ended long ago is pruned, a little at a time, so that the queue keeps its pace.

The sweep goes round: through each pipeline's tasks from the oldest on, then rests. What somebody still needs is passed
over until the next round. Each batch is one short transaction that waits for no lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db import transaction

from taskqueue.conf import settings
from taskqueue.engine import sql
from taskqueue.engine.catalog.sync import REST, add_prunings
from taskqueue.engine.events.route import DEFERRED_FOR
from taskqueue.models.pruning import BEGINNING, OTHERS, USES

BATCHES_AT_ONCE: Final = 5
"""A sweep is called about once a second; it must not keep its caller from ringing for long."""
LEAST_COST: Final = 10
"""So many tasks' worth of time a batch takes in which nothing was to be pruned."""


@dataclass(frozen=True)
class Batch:
    """What one transaction has pruned.

    Attributes:
        tasks: how many tasks.
        rows: how many rows, those of the tasks included.
        after: how far it has looked.
        is_last: whether nothing that is old enough lies behind.
    """

    tasks: int
    rows: int
    after: UUID
    is_last: bool


def prune_some() -> int:
    """Prune a few batches, if it is time; no task is made ready by it."""
    for _ in range(BATCHES_AT_ONCE):
        with transaction.atomic():
            if not sql.fetch(sql.TAKE_TURN, {}):
                break
            cost = prune_next()
            seconds = None if cost is None else cost / settings().PRUNE_PER_SECOND
            sql.fetch(sql.GIVE_TURN, {"seconds": seconds})
    return 0


def prune_next() -> int | None:
    """Prune one batch of whatever is next; what it cost, or None when nothing is due."""
    rows = sql.fetch(sql.DUE_FOR_PRUNING, {})
    if not rows:
        return None
    ((name, after, keep, for_ever),) = rows
    if name == OTHERS:
        add_prunings()
        batch = prune_others(after)
    elif name == USES:
        batch = prune_uses(after)
    elif (keep := kept_for(keep, for_ever=for_ever)) is None:
        batch = Batch(0, 0, BEGINNING, is_last=True)
    else:
        batch = prune_batch(name, keep, after)
    values = {"after": BEGINNING if batch.is_last else batch.after, "rest": REST if batch.is_last else timedelta(0)}
    sql.fetch(sql.REMEMBER_PRUNED, {**values, "name": name, "tasks": batch.tasks})
    return max(batch.rows if name in {OTHERS, USES} else batch.tasks, LEAST_COST)


def kept_for(keep: timedelta | None, *, for_ever: bool) -> timedelta | None:
    """How long ended tasks are kept: as the pipeline says, else as the setting says; None for ever."""
    return None if for_ever else settings().RETENTION if keep is None else keep


def prune_batch(pipeline: str, keep: timedelta, after: UUID = BEGINNING) -> Batch:
    """In a transaction: prune the oldest of a pipeline's ended tasks, and the requests that made none.

    Args:
        pipeline: the pipeline's name.
        keep: those that ended so long ago.
        after: begin behind this task.
    """
    values = {"pipeline": pipeline, "keep": keep, "after": after}
    skips = len(sql.fetch(sql.PRUNE_SKIPS, values))
    ((tasks, rows, last, is_last),) = sql.fetch(sql.PRUNE_TASKS, values)
    return Batch(tasks, rows + skips, last or after, is_last and skips < sql.LOOKED_AT)


def prune_others(after: UUID = BEGINNING) -> Batch:
    """In a transaction: prune keys that have expired; events, workers and operations older than the setting says."""
    keys = len(sql.fetch(sql.PRUNE_KEYS, {}))
    starts = len(sql.fetch(sql.GIVE_UP_STARTS, {"days": DEFERRED_FOR}))
    few = max(keys, starts) < sql.LOOKED_AT
    keep = settings().RETENTION
    if keep is None:
        return Batch(0, keys + starts, BEGINNING, is_last=few)
    workers = len(sql.fetch(sql.PRUNE_WORKERS, {"keep": keep}))
    operations = len(sql.fetch(sql.PRUNE_OPERATIONS, {"keep": keep}))
    ((oldest,),) = sql.fetch(sql.OLDEST_UNFINISHED, {})
    values = {"after": after, "keep": keep, "oldest": oldest, "window": settings().IDEMPOTENCY_WINDOW}
    ((_none, events, last, events_are_done),) = sql.fetch(sql.PRUNE_EVENTS, values)
    done = events_are_done and few and max(workers, operations) < sql.PRUNED_AT_ONCE
    return Batch(0, keys + starts + workers + operations + events, last or after, is_last=done)


def prune_uses(after: UUID = BEGINNING) -> Batch:
    """In a transaction: prune records of rates, for values of their keys that nobody has used for a day."""
    ((rows, last, is_last),) = sql.fetch(sql.PRUNE_USES, {"after": after.int})
    return Batch(0, rows, UUID(int=last) if last else after, is_last=is_last)


def prune_all(pipeline: str, keep: timedelta) -> Iterator[Batch]:
    """Prune all ended tasks of a pipeline that are older than that, a batch at a time, as fast as it goes."""

    def prune(after: UUID) -> Batch:
        with transaction.atomic():
            batch = prune_batch(pipeline, keep, after)
            if batch.tasks:
                sql.fetch(sql.COUNT_PRUNED, {"name": pipeline, "tasks": batch.tasks})
        return batch

    return until_the_last(prune)


def prune_all_others() -> Iterator[Batch]:
    """The same for what belongs to no pipeline."""
    yield from until_the_last(transaction.atomic(prune_others))
    yield from until_the_last(transaction.atomic(prune_uses))


def count_all(pipeline: str, keep: timedelta) -> Iterator[Batch]:
    """What `prune_all` would prune of tasks, without pruning anything."""

    def count(after: UUID) -> Batch:
        ((tasks, rows, last, is_last),) = sql.fetch(
            sql.COUNT_PRUNABLE, {"pipeline": pipeline, "keep": keep, "after": after}
        )
        return Batch(tasks, rows, last or after, is_last)

    return until_the_last(count)


def until_the_last(do: Callable[[UUID], Batch]) -> Iterator[Batch]:
    """Batch after batch, each behind the one before."""
    after = BEGINNING
    while True:
        batch = do(after)
        yield batch
        if batch.is_last:
            return
        after = batch.after
