"""The cost of a claim with a long history and a long blocked backlog, relative to an empty table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

from benchmarks.pipelines import full_keys, full_limit, one_step, paused, throttled
from taskqueue import Pipeline
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.tasks import control
from taskqueue.engine.worker.claims import claim
from taskqueue.testing import InProcessWorker

ENDED, BLOCKED = 1_000_000, 100_000
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


def claims_with_backlog() -> tuple[float, ...]:
    """Cost relative to an empty table, with a backlog blocked by full keys, a full limit, a pause, a throttle."""
    with InProcessWorker() as worker:
        baseline = milliseconds_per_claim(worker.worker)
        insert(HISTORY, one_step.definition.name, ENDED, worker=worker.worker)
        execute("ANALYZE taskqueue_task")
        costs = []
        for block in (by_full_keys, by_a_full_limit, by_a_pause, by_a_throttle):
            with block(worker.worker):
                costs.append(milliseconds_per_claim(worker.worker))
        execute("TRUNCATE taskqueue_task CASCADE")
        # Again: the machine may have become faster meanwhile.
        baseline = min(baseline, milliseconds_per_claim(worker.worker))
    return tuple(each / baseline for each in costs)


def milliseconds_per_claim(worker: int) -> float:
    """A claim of a ready task: the best decile of some rounds, without the wait for the disk."""
    execute("SET synchronous_commit = off")
    try:
        return min(best_decile(worker) for _ in range(ROUNDS))
    finally:
        execute("SET synchronous_commit = on")


def best_decile(worker: int) -> float:
    with transaction.atomic():
        for number in range(CLAIMS):
            one_step.enqueue(number)
    durations = []
    for _ in range(CLAIMS):
        started_at = time.perf_counter()
        (lease,) = claim(ClaimRequest(worker))
        durations.append((time.perf_counter() - started_at) * 1000)
        assert lease.pipeline == one_step.definition.name
    execute("DELETE FROM taskqueue_task WHERE status = 'running' AND pipeline_id = 'benchmarks/one-step'")
    return statistics.quantiles(durations, n=10)[0]


@contextmanager
def backlog(pipeline: Pipeline[[str], str], *, keys: int = 0) -> Iterator[None]:
    """A backlog of this pipeline within a with block."""
    insert(BACKLOG, pipeline.definition.name, BLOCKED, keys=keys)
    try:
        yield
    finally:
        execute("DELETE FROM taskqueue_task WHERE pipeline_id = %(pipeline)s", pipeline=pipeline.definition.name)
        execute("VACUUM taskqueue_task")  # so that the next measure does not read past deleted rows


@contextmanager
def by_full_keys(worker: int) -> Iterator[None]:
    """Two hundred keys with one slot each, all taken."""
    with backlog(full_keys, keys=200):
        claim_all(worker, 200)
        yield


@contextmanager
def by_a_full_limit(worker: int) -> Iterator[None]:
    """Ten slots in total, all taken."""
    with backlog(full_limit):
        claim_all(worker, 10)
        yield


@contextmanager
def by_a_pause(_worker: int) -> Iterator[None]:
    with backlog(paused):
        control.pause_pipeline(paused.definition.name, reason="a benchmark", actor=Actor(None, "benchmarks"))
        try:
            yield
        finally:
            control.resume_pipeline(paused.definition.name)


@contextmanager
def by_a_throttle(worker: int) -> Iterator[None]:
    with backlog(throttled):
        claim_all(worker, 0)
        yield


def claim_all(worker: int, expected: int) -> None:
    """Claim until no task of the backlog is claimable."""
    claimed = 0
    while leases := claim(ClaimRequest(worker, 8)):
        claimed += len(leases)
    assert claimed >= expected


def insert(statement: str, pipeline: str, number: int, **values: int) -> None:
    execute(statement.replace("<columns>", COLUMNS), pipeline=pipeline, number=number, **values)


def execute(statement: str, **values: str | int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
