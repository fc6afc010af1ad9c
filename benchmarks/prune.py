"""Whether the queue keeps its pace while its history is pruned."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import Max, Min

from benchmarks.pipelines import five_steps, one_step
from benchmarks.processes import ENVIRONMENT, ROOT, wait_for, workers
from taskqueue.engine.mirror import mirror_pipelines
from taskqueue.models import Step, Task

SIZE = 1_000_000
"""Rows of the history: a task and five steps are six."""
DRAINED = 2_000
ALONE = 5
"""Drains without pruning, of which the median counts."""

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
OURS_IS_DUE = "UPDATE taskqueue_pruning SET due_at = now() WHERE name IN ('', %(pipeline)s)"


def drains_beside_pruning() -> tuple[float, float, float, float]:
    """Drained tasks per second as a share of those without pruning: beside the workers' own pruning and beside
    `manage.py prune`; then how many rows a second each of the two pruned meanwhile.
    """
    mirror_pipelines()
    pipeline = five_steps.definition.name
    with workers():
        alone = statistics.median(drained() for _ in range(ALONE))
        execute(HISTORY, pipeline=pipeline, number=SIZE // 6)
        execute("ANALYZE taskqueue_task, taskqueue_step")
        began, rows = time.monotonic(), left(pipeline)
        execute(OURS_IS_DUE, pipeline=pipeline)
        own = statistics.median(drained() for _ in range(ALONE))
        own_rows = (rows - left(pipeline)) / (time.monotonic() - began)
        execute("UPDATE taskqueue_pruning SET due_at = now() + interval '1 day'")
        began, rows = time.monotonic(), left(pipeline)
        command = [sys.executable, "manage.py", "prune", "--pipeline", pipeline]
        rates = []
        with subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT) as pruning:
            while pruning.poll() is None:
                rates.append(drained())
        by_hand_rows = rows / (time.monotonic() - began)
        assert left(pipeline) == 0
    return own / alone, statistics.median(rates) / alone, own_rows, by_hand_rows


def drained() -> float:
    """Tasks per second in which the workers finish some that come all at once."""
    with transaction.atomic():
        tasks = [one_step.enqueue(number).pk for number in range(DRAINED)]
    ours = Task.objects.filter(pipeline=one_step.definition.name, pk__gte=tasks[0], pk__lte=tasks[-1])
    wait_for(lambda: not ours.exclude(status="succeeded").exists(), seconds=300, every=0.2)
    times = ours.aggregate(began=Min("started_at"), ended=Max("finished_at"))
    took: timedelta = times["ended"] - times["began"]
    return DRAINED / took.total_seconds()


def left(pipeline: str) -> int:
    """Rows of the history that are still there."""
    tasks = Task.objects.filter(pipeline=pipeline)
    return tasks.count() + Step.objects.filter(task__pipeline=pipeline).count()


def execute(statement: str, **values: str | int) -> None:
    """Run a statement."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
