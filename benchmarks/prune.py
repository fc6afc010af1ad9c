"""The speed of the queue while its history is pruned."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from django.db import transaction

from benchmarks.claims import execute
from benchmarks.pipelines import five_steps, one_step
from benchmarks.processes import started, wait_for, workers
from benchmarks.task_ends import seconds_until_finished
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.models import Task

SIZE = 1_000_000
"""Rows of the history: a task has six, with its five steps."""
TASKS = 2_000
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


def speed_while_pruning() -> tuple[float, float, float, float]:
    """The speed relative to one without pruning, and the rows pruned per second: by the workers, then by `manage.py
    prune`, which has no pauses.

    Each measure is compared with one without pruning right before it, because the load of the machine may change.
    """
    sync_pipelines()
    execute(HISTORY, pipeline=five_steps.definition.name, number=SIZE // 6)
    execute("ANALYZE taskqueue_task, taskqueue_step")
    with workers():
        by_workers, worker_rows = measure(prune_by_workers)
        by_command, command_rows = measure(prune_by_command)
    return by_workers, by_command, worker_rows, command_rows


def measure(pruning: Callable[[], AbstractContextManager[None]]) -> tuple[float, float]:
    """The median relative speed, and the rows pruned per second meanwhile."""
    found, seconds, rows = [], 0.0, 0
    for _ in range(ROUNDS):
        baseline = tasks_per_second()
        before, started_at = rows_left(), time.monotonic()
        if not before:
            break
        with pruning():
            found.append(tasks_per_second() / baseline)
        seconds += time.monotonic() - started_at
        rows += before - rows_left()
    assert found, "No rows were left to prune: choose a larger SIZE."
    return statistics.median(found), rows / seconds


@contextmanager
def prune_by_workers() -> Iterator[None]:
    """Let the workers prune between tasks."""
    execute(DUE, pipeline=five_steps.definition.name)
    yield
    execute(NOT_DUE)


@contextmanager
def prune_by_command() -> Iterator[None]:
    """Run the command within a with block."""
    before = rows_left()
    with started(*PRUNE):
        wait_for(lambda: rows_left() < before)
        yield


def tasks_per_second() -> float:
    """Enqueue tasks all at once. Returns how many per second the workers finish."""
    with transaction.atomic():
        tasks = [one_step.enqueue(number).pk for number in range(TASKS)]
    ours = Task.objects.filter(pipeline=one_step.definition.name, pk__gte=tasks[0], pk__lte=tasks[-1])
    return TASKS / seconds_until_finished(ours)


def rows_left() -> int:
    return 6 * Task.objects.filter(pipeline=five_steps.definition.name).count()
