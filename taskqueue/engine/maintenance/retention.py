"""Retention: prune old history in small batches, at a limited pace.

A round scans each pipeline's tasks from the oldest on, then pauses. Tasks that are still needed are left for the next
round. Each batch is one short transaction that waits for no lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Greatest, Now

from taskqueue.conf import settings
from taskqueue.engine import sql
from taskqueue.engine.catalog.sync import PRUNE_PAUSE, add_prunings
from taskqueue.engine.events.route import DEFERRED_DAYS
from taskqueue.models import BulkOperation, Pipeline, Pruning, Task, Worker
from taskqueue.models.pruning import BEGINNING, NO_PIPELINE, PACE_LOCK, RATE_BUCKETS
from taskqueue.states import TaskStatus

BATCHES_PER_SWEEP: Final = 5
MINIMUM_COST: Final = 10
"""The cost of a batch that prunes nothing, in tasks."""


@dataclass(frozen=True)
class Batch:
    """The result of one transaction.

    Attributes:
        tasks: pruned tasks.
        rows: pruned rows, with those of the tasks.
        after: the last row scanned.
        is_last: whether all rows that are old enough have been scanned.
    """

    tasks: int
    rows: int
    after: UUID
    is_last: bool


def prune_some() -> int:
    """Prune a few batches if pruning is due. Returns 0, as it queues no task."""
    for _ in range(BATCHES_PER_SWEEP):
        with transaction.atomic():
            due = Pruning.objects.filter(pk=PACE_LOCK, due_at__lte=Now())
            if not due.select_for_update(skip_locked=True, no_key=True):
                break
            if (cost := prune_next()) is None:
                others = Pruning.objects.exclude(pk=PACE_LOCK).order_by("due_at")
                due.update(due_at=Subquery(others.values("due_at")[:1]))
            else:  # what the last second left unused is kept
                pause = timedelta(seconds=cost / settings().PRUNE_PER_SECOND)
                due.update(due_at=Greatest("due_at", Now() - timedelta(seconds=1)) + pause)
    return 0


def prune_next() -> int | None:
    """Prune the next batch. Returns its cost, in tasks; None when nothing is due."""
    # What has waited longest, so that a long history does not keep the others waiting.
    due = Pruning.objects.exclude(pk=PACE_LOCK).filter(due_at__lte=Now()).order_by("due_at", "pk").first()
    if due is None:
        return None
    name = due.name
    if name == NO_PIPELINE:
        add_prunings()
        batch = prune_others(due.after)
    elif name == RATE_BUCKETS:
        batch = prune_buckets(due.after)
    else:
        pipeline = Pipeline.objects.only("keep", "keep_for_ever").filter(pk=name).first()
        keep = None if pipeline is None else retention_of(pipeline)
        batch = Batch(0, 0, BEGINNING, is_last=True) if keep is None else prune_batch(name, keep, due.after)
    after, rest = (BEGINNING, PRUNE_PAUSE) if batch.is_last else (batch.after, timedelta(0))
    Pruning.objects.filter(pk=name).update(after=after, due_at=Now() + rest, **pruned(batch))
    return max(batch.rows if name in {NO_PIPELINE, RATE_BUCKETS} else batch.tasks, MINIMUM_COST)


def pruned(batch: Batch) -> dict[str, Any]:
    return {"total": F("total") + batch.tasks, "pruned_at": Now()} if batch.tasks else {}


def retention_of(pipeline: Pipeline) -> timedelta | None:
    """How long a pipeline's finished tasks are kept: its own value, else the setting; None for ever."""
    return None if pipeline.keep_for_ever else pipeline.keep or settings().RETENTION


def prune_batch(pipeline: str, keep: timedelta, after: UUID = BEGINNING) -> Batch:
    """Prune a batch of a pipeline's oldest finished tasks, after one, and skipped requests. Needs a transaction."""
    sql.fetch(sql.AVOID_SORTING, {})
    values = {"pipeline": pipeline, "keep": keep, "after": after}
    skips = len(sql.fetch(sql.PRUNE_SKIPS, values))
    ((tasks, rows, last, is_last),) = sql.fetch(sql.PRUNE_TASKS, values)
    return Batch(tasks, rows + skips, last or after, is_last and skips < sql.PRUNE_SCAN_LIMIT)


def prune_others(after: UUID = BEGINNING) -> Batch:
    """Prune expired keys, and old events, workers and bulk operations. Needs a transaction."""
    sql.fetch(sql.AVOID_SORTING, {})
    keys = len(sql.fetch(sql.PRUNE_KEYS, {}))
    starts = len(sql.fetch(sql.GIVE_UP_DEFERRED_STARTS, {"days": DEFERRED_DAYS}))
    is_last = max(keys, starts) < sql.PRUNE_SCAN_LIMIT
    keep = settings().RETENTION
    if keep is None:
        return Batch(0, keys + starts, BEGINNING, is_last=is_last)
    running = Task.objects.filter(status=TaskStatus.RUNNING, started_at__isnull=False)
    to_recover = Exists(running.filter(worker=OuterRef("pk")))
    workers = delete_some(Worker.objects.filter(~to_recover, ended_at__lt=Now() - keep).order_by("pk"))
    operations = delete_some(BulkOperation.objects.filter(finished_at__lt=Now() - keep).order_by("finished_at"))
    ((oldest,),) = sql.fetch(sql.OLDEST_UNFINISHED, {})
    values = {"after": after, "keep": keep, "oldest": oldest, "window": settings().IDEMPOTENCY_WINDOW}
    ((_none, events, last, scanned_all),) = sql.fetch(sql.PRUNE_EVENTS, values)
    is_last = is_last and scanned_all and max(workers, operations) < sql.PRUNE_BATCH
    return Batch(0, keys + starts + workers + operations + events, last or after, is_last=is_last)


def delete_some(rows: QuerySet[Any]) -> int:
    """Delete a batch of these rows, the first ones, but none that another transaction has locked; how many."""
    ids = list(rows.select_for_update(skip_locked=True).values_list("pk", flat=True)[: sql.PRUNE_BATCH])
    rows.model._default_manager.filter(pk__in=ids).delete()
    return len(ids)


def prune_buckets(after: UUID = BEGINNING) -> Batch:
    """Prune the buckets of rate limit keys that were not used for a day. Needs a transaction."""
    sql.fetch(sql.AVOID_SORTING, {})
    ((rows, last, is_last),) = sql.fetch(sql.PRUNE_BUCKETS, {"after": after.int})
    return Batch(0, rows, UUID(int=last) if last else after, is_last=is_last)


def prune_all(pipeline: str, keep: timedelta) -> Iterator[Batch]:
    """Prune all old finished tasks of a pipeline, batch after batch, without a limit of the pace."""
    return all_batches(partial(prune_and_record, pipeline, keep))


@transaction.atomic
def prune_and_record(pipeline: str, keep: timedelta, after: UUID) -> Batch:
    batch = prune_batch(pipeline, keep, after)
    if batch.tasks:
        Pruning.objects.get_or_create(pk=pipeline)
        Pruning.objects.filter(pk=pipeline).update(**pruned(batch))
    return batch


def prune_all_others() -> Iterator[Batch]:
    """Prune all old rows that belong to no pipeline, batch after batch."""
    yield from all_batches(transaction.atomic(prune_others))
    yield from all_batches(transaction.atomic(prune_buckets))


def count_all(pipeline: str, keep: timedelta) -> Iterator[Batch]:
    """Count the tasks that `prune_all` would prune."""
    return all_batches(partial(count_batch, pipeline, keep))


@transaction.atomic
def count_batch(pipeline: str, keep: timedelta, after: UUID) -> Batch:
    sql.fetch(sql.AVOID_SORTING, {})
    values = {"pipeline": pipeline, "keep": keep, "after": after}
    ((tasks, rows, last, is_last),) = sql.fetch(sql.COUNT_PRUNABLE, values)
    return Batch(tasks, rows, last or after, is_last)


def all_batches(run: Callable[[UUID], Batch]) -> Iterator[Batch]:
    after = BEGINNING
    while True:
        batch = run(after)
        yield batch
        if batch.is_last:
            return
        after = batch.after
