"""Whether the queue keeps its pace while its history is pruned."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import Max, Min

from benchmarks.pipelines import five_steps, one_step
from benchmarks.processes import started, wait_for, workers
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.models import Task

SIZE = 1_000_000
"""Rows of the history: a task and five steps are six."""
DRAINED = 2_000
ROUNDS = 5

HISTORY = """
WITH past AS (SELECT now() - interval '31 days' AS at), tasks AS (
    INSERT INTO taskqueue_task (id, pipeline_id, status, key, labels, priority, payload, lease, failures, progress_note,
        due_at, sort_at, created_at, started_at, finished_at)
    SELECT (lpad(to_hex((extract(epoch FROM past.at) * 1000)::bigint + number / 10), 12, '0')
        || substr(replace(gen_random_uuid()::text, '-', ''), 13))::uuid,
        %(pipeline)s, 'succeeded', '', '{}', 0, '{"number": 1}', 1, 0, '', past.at, past.at, past.at, past.at, past.at
    FROM past, generate_series(1, %(number)s) AS number
    RETURNING id
)
INSERT INTO taskqueue_step (task_id, key, name, kind, status, failures, input, input_hash, output, started_at,
    finished_at)
SELECT tasks.id, 'nothing#' || call, 'nothing', 'step', 'succeeded', 0, '{"number": 1}', '', '1', past.at, past.at
FROM tasks, past, generate_series(1, 5) AS call
"""
DUE = "UPDATE taskqueue_pruning SET due_at = now() WHERE name IN ('', %(pipeline)s)"
NOT_DUE = "UPDATE taskqueue_pruning SET due_at = now() + interval '1 day'"
PRUNE = [sys.executable, "manage.py", "prune", "--pipeline", five_steps.definition.name]


def drains_beside_pruning() -> tuple[float, float, float, float]:
    """What share of its pace the queue keeps, and how many rows a second are pruned meanwhile: first by the workers
    themselves, then by `manage.py prune`, which goes as fast as it can.

    Each drain is compared with one without pruning right before it, for the machine may have other things to do.
    """
    sync_pipelines()
    execute(HISTORY, pipeline=five_steps.definition.name, number=SIZE // 6)
    execute("ANALYZE taskqueue_task, taskqueue_step")
    with workers():
        own, own_rows = shares(by_the_workers)
        by_hand, by_hand_rows = shares(by_hand_once)
    return own, by_hand, own_rows, by_hand_rows


def shares(pruning: Callable[[], AbstractContextManager[None]]) -> tuple[float, float]:
    """The median share, and the rows pruned per second of the drains beside it."""
    found, seconds, rows = [], 0.0, 0
    for _ in range(ROUNDS):
        alone = drained()
        before, began = left(), time.monotonic()
        if not before:
            break
        with pruning():
            found.append(drained() / alone)
        seconds += time.monotonic() - began
        rows += before - left()
    assert found, "Nothing was left to be pruned: take a larger SIZE."
    return statistics.median(found), rows / seconds


@contextmanager
def by_the_workers() -> Iterator[None]:
    """The workers prune, as they do in between."""
    execute(DUE, pipeline=five_steps.definition.name)
    yield
    execute(NOT_DUE)


@contextmanager
def by_hand_once() -> Iterator[None]:
    """The command, until it is stopped."""
    before = left()
    with started(*PRUNE):
        wait_for(lambda: left() < before)
        yield


def drained() -> float:
    """Tasks per second in which the workers finish some that come all at once."""
    with transaction.atomic():
        tasks = [one_step.enqueue(number).pk for number in range(DRAINED)]
    ours = Task.objects.filter(pipeline=one_step.definition.name, pk__gte=tasks[0], pk__lte=tasks[-1])
    wait_for(lambda: not ours.exclude(status="succeeded").exists(), seconds=300, every=0.2)
    times = ours.aggregate(began=Min("started_at"), ended=Max("finished_at"))
    took: timedelta = times["ended"] - times["began"]
    return DRAINED / took.total_seconds()


def left() -> int:
    """Rows of the history that are still there."""
    return 6 * Task.objects.filter(pipeline=five_steps.definition.name).count()


def execute(statement: str, **values: str | int) -> None:
    """Run a statement."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
