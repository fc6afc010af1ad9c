"""A task queue with the engine's central promise in bare SQL, without Django: the floor for the engine's figures.

A task is a durable row. A worker claims it with SKIP LOCKED under a lease, records the output of each step under that
lease, and ends the task. The tasks of a dead worker are queued again. It makes as many durable commits as the engine:
one at enqueue, one for each step but the last, and one for the last step with the end of the task and the next claim.
It has nothing else: no retries, timers, limits, pauses, priorities, keys, children, events, logs or heartbeats.

`python -m benchmarks.sketch` is one worker process; SKETCH_DATABASE has libpq's words for the connection.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import psycopg

from taskqueue.ids import uuid7

Connection = psycopg.Connection[tuple[Any, ...]]
Rows = list[tuple[Any, ...]]

CHANNEL: Final = "sketch"
RECOVERY_INTERVAL: Final = 1.0
"""Seconds. An idle worker looks this often for tasks of dead workers."""

CREATE_TABLES: Final = """
DROP TABLE IF EXISTS sketch_task, sketch_step;
DROP SEQUENCE IF EXISTS sketch_worker;
CREATE TABLE sketch_task (
    id uuid PRIMARY KEY,
    steps int NOT NULL,
    payload jsonb NOT NULL,
    status text NOT NULL DEFAULT 'queued',
    sort_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    worker int,
    lease int NOT NULL DEFAULT 0,
    result jsonb,
    started_at timestamptz,
    finished_at timestamptz
) WITH (fillfactor = 80);
CREATE INDEX sketch_task_queue ON sketch_task (sort_at) WHERE status = 'queued';
CREATE TABLE sketch_step (
    task_id uuid,
    key text,
    output jsonb NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    PRIMARY KEY (task_id, key)
);
CREATE SEQUENCE sketch_worker AS int;
"""

ENQUEUE: Final = """
WITH task AS (INSERT INTO sketch_task (id, steps, payload) VALUES ($1::uuid, $2::int, $3::jsonb) RETURNING id)
SELECT pg_notify('sketch', '') FROM task
"""

# A worker lives as long as its session has this lock.
REGISTER: Final = """
SELECT worker, pg_advisory_lock('sketch_worker'::regclass::int, worker)
FROM (SELECT nextval('sketch_worker')::int AS worker) AS new
"""

LIVE_WORKERS: Final = """
SELECT objid::int FROM pg_locks WHERE locktype = 'advisory' AND classid = 'sketch_worker'::regclass
"""

RECOVER: Final = f"""
UPDATE sketch_task SET status = 'queued' WHERE status = 'running' AND worker NOT IN ({LIVE_WORKERS})
"""

# $2 is the worker.
NEXT_TASK: Final = """
UPDATE sketch_task
SET status = 'running', worker = $2::int, lease = lease + 1, started_at = coalesce(started_at, statement_timestamp())
WHERE id = (
    SELECT id FROM sketch_task WHERE status = 'queued' AND sort_at <= statement_timestamp()
    ORDER BY sort_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
)
RETURNING id, lease, steps, payload::text
"""

CLAIM: Final = NEXT_TASK.replace("$2", "$1")

# The lock keeps recovery out until the commit.
CHECKPOINT: Final = """
WITH leased AS (
    SELECT id FROM sketch_task
    WHERE id = $1::uuid AND worker = $2::int AND lease = $3::int AND status = 'running'
    FOR NO KEY UPDATE
)
INSERT INTO sketch_step (task_id, key, output) SELECT id, $4::text, $5::jsonb FROM leased
ON CONFLICT (task_id, key) DO NOTHING
RETURNING key
"""

# End a task with its last step, if it has one, and claim the next task.
END_AND_CLAIM: Final = f"""
WITH ended AS (
    UPDATE sketch_task SET status = 'succeeded', result = $5::jsonb, finished_at = statement_timestamp()
    WHERE id = $1::uuid AND worker = $2::int AND lease = $3::int AND status = 'running'
    RETURNING id
), step AS (
    INSERT INTO sketch_step (task_id, key, output) SELECT id, $4::text, $5::jsonb FROM ended WHERE $4::text <> ''
    ON CONFLICT (task_id, key) DO NOTHING
), claimed AS ({NEXT_TASK})
SELECT * FROM claimed
"""

LOAD_STEPS: Final = "SELECT key FROM sketch_step WHERE task_id = $1::uuid"


@dataclass(frozen=True)
class Lease:
    """A claimed task. A worker with an older lease cannot write."""

    task: UUID
    worker: int
    number: int
    steps: int
    payload: int

    @property
    def fence(self) -> tuple[UUID, int, int]:
        return self.task, self.worker, self.number


def main() -> None:
    """Execute tasks until this process is killed."""
    with connect(os.environ["SKETCH_DATABASE"]) as connection:
        connection.execute("LISTEN sketch")
        worker = register(connection)
        lease = claim(connection, worker)
        while True:
            lease = wait_and_claim(connection, worker) if lease is None else execute(connection, lease)


def connect(conninfo: str) -> Connection:
    return psycopg.connect(conninfo, autocommit=True)


def fetch(connection: Connection, statement: str, *values: object) -> Rows:
    """Run a prepared statement. Returns its rows."""
    with psycopg.RawCursor(connection) as cursor:
        cursor.execute(statement.encode(), values, prepare=True)
        return cursor.fetchall() if cursor.pgresult is not None and cursor.pgresult.nfields else []


def create_tables(connection: Connection) -> None:
    connection.execute(CREATE_TABLES)


def enqueue(connection: Connection, steps: int, number: int) -> UUID:
    """Insert a task and notify idle workers, in one commit. Returns its id."""
    task = uuid7()
    fetch(connection, ENQUEUE, task, steps, payload_of(number))
    return task


def enqueue_many(connection: Connection, steps: int, numbers: Iterable[int]) -> None:
    """Insert tasks by COPY, which is the fastest way, and notify idle workers, in the caller's transaction."""
    with connection.cursor() as cursor:
        with cursor.copy("COPY sketch_task (id, steps, payload) FROM STDIN") as copy:
            copy.write("".join(f"{uuid7()}\t{steps}\t{payload_of(number)}\n" for number in numbers))
        cursor.execute("NOTIFY sketch")


def payload_of(number: int) -> str:
    return json.dumps({"number": number})


def register(connection: Connection) -> int:
    """Start a worker. Returns its id."""
    ((worker, _),) = fetch(connection, REGISTER)
    return int(worker)


def live_workers(connection: Connection) -> int:
    """How many workers are alive."""
    return len(fetch(connection, LIVE_WORKERS))


def claim(connection: Connection, worker: int) -> Lease | None:
    """Claim the next task; None when none is due."""
    return lease_of(worker, fetch(connection, CLAIM, worker))


def lease_of(worker: int, rows: Rows) -> Lease | None:
    for task, lease, steps, payload in rows:
        return Lease(task, worker, lease, steps, json.loads(payload)["number"])
    return None


def wait_and_claim(connection: Connection, worker: int) -> Lease | None:
    """Wait for a notification and claim. Without one for a while, queue the tasks of dead workers again before."""
    if not list(connection.notifies(timeout=RECOVERY_INTERVAL, stop_after=1)):
        recover(connection)
    return claim(connection, worker)


def recover(connection: Connection) -> None:
    """Queue the tasks of dead workers again."""
    fetch(connection, RECOVER)


def execute(connection: Connection, lease: Lease) -> Lease | None:
    """Execute a task from its first step that is not recorded. Returns the lease of the next task.

    A task without steps returns the time of its first line, in nanoseconds of the monotonic clock, which all processes
    of the machine share.
    """
    if not lease.steps:
        return end(connection, lease, time.monotonic_ns())
    recorded = {key for (key,) in fetch(connection, LOAD_STEPS, lease.task)} if lease.number > 1 else set()
    *keys, last = (f"nothing#{call}" for call in range(1, lease.steps + 1))
    for more, key in enumerate(keys):
        if key not in recorded and not checkpoint(connection, lease, key, lease.payload + more):
            return claim(connection, lease.worker)  # the lease is lost: another worker has the task now
    return end(connection, lease, lease.payload + len(keys), last)


def checkpoint(connection: Connection, lease: Lease, key: str, output: int) -> bool:
    """Record the output of a step. Returns whether it was written; not under a lost lease."""
    return bool(fetch(connection, CHECKPOINT, *lease.fence, key, json.dumps(output)))


def end(connection: Connection, lease: Lease, result: int, last_step: str = "") -> Lease | None:
    """End a task, and record its last step, whose output is the result. Returns the lease of the next task."""
    rows = fetch(connection, END_AND_CLAIM, *lease.fence, last_step, json.dumps(result))
    return lease_of(lease.worker, rows)


if __name__ == "__main__":
    main()
