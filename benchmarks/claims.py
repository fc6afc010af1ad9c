"""What a claim costs beside a long history and a long backlog that is held back, against an empty table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

from benchmarks.pipelines import booked_up, full_keys, full_limit, one_step, paused
from taskqueue import Pipeline
from taskqueue.engine.tasks import control
from taskqueue.engine.worker.claims import ClaimRequest, claim
from taskqueue.testing import InProcessWorker

ENDED, HELD_BACK = 1_000_000, 100_000
CLAIMS, ROUNDS = 150, 3

COLUMNS = "id, pipeline_id, status, key, labels, priority, payload, lease, failures, progress_note"
HISTORY = """
INSERT INTO taskqueue_task (<columns>, due_at, sort_at, created_at, slot_acquired_at, started_at, finished_at,
    worker_id)
SELECT gen_random_uuid(), %(pipeline)s, 'succeeded', '', '{}', 0, '{}', 1, 0, '',
    now(), now(), now(), now(), now(), now(), %(worker)s
FROM generate_series(1, %(number)s)
"""
BACKLOG = """
INSERT INTO taskqueue_task (<columns>, due_at, sort_at, created_at, "concurrency_key")
SELECT gen_random_uuid(), %(pipeline)s, 'queued', '', '{}', 0, '{"tenant": "a"}', 0, 0, '',
    past.hour, past.hour, past.hour,
    CASE WHEN %(keys)s > 0 THEN (number %% greatest(%(keys)s, 1))::text ELSE '' END
FROM generate_series(1, %(number)s) AS number, (SELECT now() - interval '1 hour' AS hour) AS past
"""


def claims_beside_held_back() -> tuple[float, ...]:
    """Times the claim on an empty table: held back by full keys, by a full limit, by a pause, by a throttle."""
    with InProcessWorker() as worker:
        alone = milliseconds_per_claim(worker.worker)
        insert(HISTORY, one_step.definition.name, ENDED, worker=worker.worker)
        execute("ANALYZE taskqueue_task")
        beside = []
        for hold in (by_full_keys, by_a_full_limit, by_a_pause, by_a_throttle):
            with hold(worker.worker):
                beside.append(milliseconds_per_claim(worker.worker))
        execute("TRUNCATE taskqueue_task CASCADE")
        # Once more: the machine may have become faster meanwhile.
        alone = min(alone, milliseconds_per_claim(worker.worker))
    return tuple(each / alone for each in beside)


def milliseconds_per_claim(worker: int) -> float:
    """A claim of a task that is ready: the best decile of some rounds, without the wait for the disk."""
    execute("SET synchronous_commit = off")
    try:
        return min(quick_claim(worker) for _ in range(ROUNDS))
    finally:
        execute("SET synchronous_commit = on")


def quick_claim(worker: int) -> float:
    """One round."""
    with transaction.atomic():
        for number in range(CLAIMS):
            one_step.enqueue(number)
    took = []
    for _ in range(CLAIMS):
        began = time.perf_counter()
        (lease,) = claim(ClaimRequest(worker))
        took.append((time.perf_counter() - began) * 1000)
        assert lease.pipeline == one_step.definition.name
    execute("DELETE FROM taskqueue_task WHERE status = 'running' AND pipeline_id = 'benchmarks/one-step'")
    return statistics.quantiles(took, n=10)[0]


@contextmanager
def held_back(pipeline: Pipeline[[str], str], *, keys: int = 0) -> Iterator[None]:
    """A backlog of this pipeline, for the length of a with block."""
    insert(BACKLOG, pipeline.definition.name, HELD_BACK, keys=keys)
    try:
        yield
    finally:
        execute("DELETE FROM taskqueue_task WHERE pipeline_id = %(pipeline)s", pipeline=pipeline.definition.name)
        execute("VACUUM taskqueue_task")  # what was deleted is not to be read past by the next one


@contextmanager
def by_full_keys(worker: int) -> Iterator[None]:
    """Two hundred keys with one place each, all taken."""
    with held_back(full_keys, keys=200):
        drawn(worker, 200)
        yield


@contextmanager
def by_a_full_limit(worker: int) -> Iterator[None]:
    """Ten places in all, all taken."""
    with held_back(full_limit):
        drawn(worker, 10)
        yield


@contextmanager
def by_a_pause(_worker: int) -> Iterator[None]:
    """A paused pipeline."""
    with held_back(paused):
        control.pause_pipeline(paused.definition.name, reason="a benchmark", by="benchmarks")
        try:
            yield
        finally:
            control.resume_pipeline(paused.definition.name)


@contextmanager
def by_a_throttle(worker: int) -> Iterator[None]:
    """One start an hour."""
    with held_back(booked_up):
        drawn(worker, 0)
        yield


def drawn(worker: int, expected: int) -> None:
    """Claim until nothing of what is held back can be claimed any more."""
    leases = 0
    while taken := claim(ClaimRequest(worker, 8)):
        leases += len(taken)
    assert leases >= expected


def insert(statement: str, pipeline: str, number: int, **values: int) -> None:
    """Insert so many tasks of a pipeline."""
    execute(statement.replace("<columns>", COLUMNS), pipeline=pipeline, number=number, **values)


def execute(statement: str, **values: str | int) -> None:
    """Run a statement."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
