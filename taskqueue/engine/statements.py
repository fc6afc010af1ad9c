"""The raw statements of the hot path, each one a single round trip and a single commit.

They bypass the ORM because a third of an ORM update is the database and the rest is Python. `tests/engine` holds each
against its model. Times come from `statement_timestamp()`: the database's clock, stable within a statement (so that an
index can use it), yet moving inside a test's transaction, where `now()` would stand still.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, LiteralString

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections

ENQUEUE: Final = """
WITH pipeline AS (
    -- A pipeline that is not mirrored yet (a new deploy, an emptied test database) must not fail its first caller.
    INSERT INTO taskqueue_pipeline (name, description, payload_schema, result_schema, retry)
    SELECT %(pipeline)s::text, '', '{}', '{}', '[]'
    WHERE NOT EXISTS (SELECT FROM taskqueue_pipeline WHERE name = %(pipeline)s::text)
    ON CONFLICT DO NOTHING
), promised AS (
    -- Of several callers with one key the first wins; the others wait for its commit and then insert nothing.
    INSERT INTO taskqueue_idempotencykey AS held (pipeline_id, key, task_id, expires_at)
    SELECT %(pipeline)s::text, %(key)s::text, %(id)s::uuid, statement_timestamp() + %(window)s::interval
    WHERE %(key)s::text <> ''
    ON CONFLICT (pipeline_id, key) DO UPDATE SET task_id = EXCLUDED.task_id, expires_at = EXCLUDED.expires_at
    WHERE held.expires_at <= statement_timestamp() OR %(force)s::boolean
    RETURNING 1
), due AS (
    SELECT greatest(%(run_at)s::timestamptz, statement_timestamp()) AS at
)
INSERT INTO taskqueue_task (
    id, pipeline_id, status, key, labels, priority, payload, due_at, sort_at,
    lease, failures, progress_note, rerun_of_id, created_at
)
SELECT
    %(id)s::uuid, %(pipeline)s::text, CASE WHEN due.at > statement_timestamp() THEN 'scheduled' ELSE 'queued' END,
    %(key)s::text, %(labels)s::jsonb, %(priority)s::smallint, %(payload)s::jsonb,
    due.at, due.at - make_interval(secs => %(priority)s::smallint),
    0, 0, '', %(rerun_of)s::uuid, statement_timestamp()
FROM due
WHERE %(key)s::text = '' OR EXISTS (SELECT FROM promised)
RETURNING status, due_at, sort_at, created_at
"""

# The head of each pipeline's queue by one index probe, then the best one's first tasks are locked. The nested loop
# stops at its last row, so nothing else is locked, and neither history nor another pipeline's backlog costs anything.
# A task that was claimed before comes alone or first: if it kills its worker, the others were lost once at the most.
NEXT: Final = """
head AS MATERIALIZED (
    SELECT ready.id, ready.sort_at
    FROM (
        SELECT known.name COLLATE "C" AS name, (
            SELECT queue.sort_at FROM taskqueue_task queue
            WHERE queue.lane = known.name COLLATE "C"
            ORDER BY queue.sort_at, queue.id LIMIT 1
        ) AS sort_at
        FROM unnest(%(pipelines)s::text[]) AS known (name)
        ORDER BY 2
    ) AS best
    CROSS JOIN LATERAL (
        SELECT queue.id, queue.sort_at FROM taskqueue_task queue
        WHERE queue.lane = best.name
        ORDER BY queue.sort_at, queue.id
        LIMIT %(most)s::int
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS ready
    LIMIT %(most)s::int
), claimed AS (
    UPDATE taskqueue_task task
    SET status = 'running', worker_id = %(claimant)s::int, lease = task.lease + 1,
        started_at = coalesce(task.started_at, statement_timestamp())
    FROM head
    WHERE task.id = head.id AND (task.lease = 0 OR task.id = (SELECT id FROM head ORDER BY sort_at, id LIMIT 1))
    RETURNING task.id, task.pipeline_id, task.lease, task.payload::text, task.labels::text, task.key, task.failures,
        task.sort_at
)
"""

CLAIM: Final = f"WITH {NEXT} SELECT * FROM claimed ORDER BY sort_at, id"

# Locks the task for the rest of the transaction, so that neither recovery nor a cancel can slip in before the commit.
HELD: Final = """
held AS (
    SELECT id FROM taskqueue_task
    WHERE id = %(task)s::uuid AND worker_id = %(worker)s::int AND lease = %(lease)s::int AND status = 'running'
    FOR NO KEY UPDATE
)
"""

CHECKPOINT: Final = f"""
WITH {HELD}
INSERT INTO taskqueue_step AS known (
    task_id, key, name, status, failures, input, input_hash, output, started_at, finished_at
)
SELECT
    held.id, %(key)s::text, %(name)s::text, 'succeeded', 0, %(input)s::jsonb, %(input_hash)s::text, %(output)s::jsonb,
    statement_timestamp() - %(elapsed)s::interval, statement_timestamp()
FROM held
ON CONFLICT (task_id, key) DO UPDATE
SET status = 'succeeded', input = EXCLUDED.input, input_hash = EXCLUDED.input_hash, output = EXCLUDED.output,
    error = NULL, started_at = EXCLUDED.started_at, finished_at = EXCLUDED.finished_at
WHERE known.status <> 'succeeded'
RETURNING output::text
"""

# A failed try: the step's row (none for the body itself, whose key is empty) and the attempt, under the same lock.
FAILED_TRY: Final = f"""
{HELD}, step AS (
    INSERT INTO taskqueue_step AS known (
        task_id, key, name, status, failures, input, input_hash, error, started_at, finished_at
    )
    SELECT
        held.id, %(key)s::text, %(name)s::text, %(step_status)s::text, 1, %(input)s::jsonb, %(input_hash)s::text,
        %(step_error)s::jsonb, statement_timestamp() - %(elapsed)s::interval, statement_timestamp()
    FROM held
    WHERE %(key)s::text <> ''
    ON CONFLICT (task_id, key) DO UPDATE
    SET status = EXCLUDED.status, failures = known.failures + 1, input = EXCLUDED.input,
        input_hash = EXCLUDED.input_hash, error = EXCLUDED.error,
        started_at = EXCLUDED.started_at, finished_at = EXCLUDED.finished_at
    WHERE known.status <> 'succeeded'
    RETURNING id
), written AS (
    -- A step whose commit was answered with an error may have succeeded all the same: then nothing failed.
    SELECT id FROM held WHERE %(key)s::text = '' OR EXISTS (SELECT FROM step)
), attempt AS (
    INSERT INTO taskqueue_attempt (
        task_id, step_key, number, outcome, error_type, error_message, traceback, worker_id, lease, started_at,
        finished_at
    )
    SELECT
        held.id, %(key)s::text,
        (SELECT coalesce(max(number), 0) + 1 FROM taskqueue_attempt
         WHERE task_id = held.id AND step_key = %(key)s::text),
        %(outcome)s::text, %(error_type)s::text, %(error_message)s::text, %(traceback)s::text, %(worker)s::int,
        %(lease)s::int, statement_timestamp() - %(elapsed)s::interval, statement_timestamp()
    FROM written JOIN held USING (id)
)
"""

RECORD_FAILED_STEP: Final = f"WITH {FAILED_TRY} SELECT id FROM written"

TRY_AGAIN: Final = f"""
{FAILED_TRY}, settled AS (
    UPDATE taskqueue_task task
    SET status = CASE WHEN later.due_at IS NULL THEN 'queued' ELSE 'retrying' END,
        failures = task.failures + %(body_failures)s::smallint,
        due_at = coalesce(later.due_at, task.due_at),
        sort_at = coalesce(later.due_at, task.due_at) - make_interval(secs => task.priority)
    FROM held LEFT JOIN (
        SELECT id, statement_timestamp() + %(wait)s::interval AS due_at FROM written
    ) AS later USING (id)
    WHERE task.id = held.id
    RETURNING task.id
)
"""

FINISH: Final = f"""
{HELD}, settled AS (
    UPDATE taskqueue_task task
    SET status = %(status)s::text, result = %(result)s::jsonb, error = %(error)s::jsonb,
        finished_at = statement_timestamp(),
        progress = CASE WHEN %(status)s::text = 'succeeded' AND progress IS NOT NULL THEN 1 ELSE progress END,
        progress_note = CASE WHEN %(status)s::text = 'succeeded' THEN '' ELSE progress_note END
    FROM held
    WHERE task.id = held.id
    RETURNING task.id
)
"""

FAIL_BODY: Final = f"""
{FAILED_TRY}, settled AS (
    UPDATE taskqueue_task task
    SET status = 'failed', error = %(error)s::jsonb, failures = task.failures + 1, finished_at = statement_timestamp()
    FROM held
    WHERE task.id = held.id
    RETURNING task.id
)
"""

# Keeps its place in the queue: it was interrupted, not postponed. Writes nothing when the lease is someone else's.
PUT_BACK: Final = f"""
{HELD}, settled AS (
    UPDATE taskqueue_task task SET status = 'queued' FROM held WHERE task.id = held.id RETURNING task.id
)
"""

LOAD_JOURNAL: Final = """
SELECT key, status, failures, input_hash, output::text, error::text
FROM taskqueue_step WHERE task_id = %(task)s::uuid
"""

# For the doorbell and for each drain: one round trip when there is nothing to do.
LOOK: Final = """
SELECT
    (
        SELECT count(*) FROM (
            SELECT FROM unnest(%(pipelines)s::text[]) AS known (name)
            CROSS JOIN LATERAL (
                SELECT FROM taskqueue_task
                WHERE lane = known.name COLLATE "C"
                ORDER BY sort_at, id LIMIT 1
            ) AS ready
            LIMIT %(limit)s::int
        ) AS claimable
    ),
    (
        SELECT extract(epoch FROM timer_at - statement_timestamp())::float FROM taskqueue_task
        WHERE timer_at IS NOT NULL
        ORDER BY timer_at LIMIT 1
    ),
    ARRAY(
        -- Ended while it claimed: nobody else looks after what it holds.
        SELECT ended.id FROM taskqueue_task task JOIN taskqueue_worker ended ON ended.id = task.worker_id
        WHERE task.status = 'running' AND ended.ended_at IS NOT NULL
        UNION
        SELECT worker.id FROM taskqueue_worker worker
        WHERE worker.ended_at IS NULL AND (
            worker.beat_at < statement_timestamp() - %(silence)s::interval
            -- After a restart of the database every worker needs a moment to take its lock again.
            OR coalesce(
                -- Younger than the server itself after a crash; hidden from roles that may not see it.
                (SELECT max(backend_start) FROM pg_stat_activity WHERE backend_type = 'checkpointer'),
                pg_postmaster_start_time()
            ) < statement_timestamp() - %(settling)s::interval AND NOT EXISTS (
                SELECT FROM pg_locks
                WHERE locktype = 'advisory' AND classid::bigint = %(lock_space)s::bigint
                AND objid::bigint = worker.id AND objsubid = 2
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            )
        )
    )
"""

# A number that the planner can see, and so small that no plan but the index can seem better.
PROMOTED_AT_ONCE: Final = 50
PROMOTE: Final = """
UPDATE taskqueue_task SET status = 'queued'
WHERE id IN (
    SELECT id FROM taskqueue_task
    WHERE timer_at <= statement_timestamp()
    ORDER BY timer_at LIMIT 50
    FOR NO KEY UPDATE SKIP LOCKED
)
RETURNING id
"""

# The lock on the worker's row lets one at a time in. Nobody waits for a lock here, neither for another who recovers the
# same worker nor for whoever holds a task's row: what is passed over stays under an ended worker, and the next look
# finds it there.
RECOVER: Final = """
WITH dead AS (
    UPDATE taskqueue_worker
    SET ended_at = coalesce(ended_at, statement_timestamp()),
        end_reason = CASE WHEN ended_at IS NULL THEN %(reason)s::text ELSE end_reason END
    WHERE id = (SELECT id FROM taskqueue_worker WHERE id = %(worker)s::int FOR NO KEY UPDATE SKIP LOCKED)
    RETURNING id, host, pid, task_id, step, step_started_at
), held AS (
    SELECT task.id, task.lease, dead.id AS worker_id, dead.host, dead.pid, dead.step_started_at, task.started_at,
        -- What the worker last said it did, unless that step has been finished since.
        CASE WHEN dead.task_id = task.id AND NOT EXISTS (
            SELECT FROM taskqueue_step step
            WHERE step.task_id = task.id AND step.key = dead.step AND step.status = 'succeeded'
        ) THEN dead.step ELSE '' END AS step_key,
        -- Losses with no finished step and no retry by a person between them.
        1 + (
            SELECT count(*) FROM taskqueue_attempt earlier
            WHERE earlier.task_id = task.id AND earlier.outcome = 'lost' AND earlier.finished_at > greatest(
                task.retried_at,
                (SELECT max(done.finished_at) FROM taskqueue_step done
                 WHERE done.task_id = task.id AND done.status = 'succeeded'),
                '-infinity'::timestamptz
            )
        ) AS losses
    FROM taskqueue_task task JOIN dead ON task.worker_id = dead.id
    WHERE task.status = 'running'
    FOR NO KEY UPDATE OF task SKIP LOCKED
), lost AS (
    INSERT INTO taskqueue_attempt (
        task_id, step_key, number, outcome, error_type, error_message, traceback, worker_id, lease, started_at,
        finished_at
    )
    SELECT held.id, held.step_key,
        (SELECT coalesce(max(number), 0) + 1 FROM taskqueue_attempt a
         WHERE a.task_id = held.id AND a.step_key = held.step_key),
        'lost', 'WorkerLost', format('Worker %%s (process %%s on %%s) was lost: %%s.', held.worker_id, held.pid,
        held.host, %(reason)s::text), '', held.worker_id, held.lease,
        least(CASE WHEN held.step_key <> '' THEN held.step_started_at ELSE held.started_at END, statement_timestamp()),
        statement_timestamp()
    FROM held
    ON CONFLICT DO NOTHING
)
UPDATE taskqueue_task task
SET status = CASE WHEN held.losses < %(poison)s::int THEN 'queued' ELSE 'failed' END,
    finished_at = CASE WHEN held.losses < %(poison)s::int THEN NULL ELSE statement_timestamp() END,
    error = CASE WHEN held.losses < %(poison)s::int THEN NULL ELSE jsonb_build_object(
        'type', 'Poison', 'step', nullif(held.step_key, ''),
        'message', format('%%s workers in a row were lost in it; the last: %%s.', held.losses, %(reason)s::text)
    ) END
FROM held
WHERE task.id = held.id
RETURNING task.id, task.status
"""

BEAT: Final = """
UPDATE taskqueue_worker
SET beat_at = statement_timestamp(), task_id = %(task)s::uuid, step = %(step)s::text,
    step_started_at = statement_timestamp() - %(elapsed)s::interval
WHERE id = %(worker)s::int AND ended_at IS NULL
"""

REPORT_PROGRESS: Final = f"""
WITH {HELD}
UPDATE taskqueue_task task SET progress = %(progress)s::float, progress_note = %(note)s::text
FROM held WHERE task.id = held.id
"""

# Its own tiny transaction after the caller's commit: NOTIFY takes a lock on the whole instance until it commits. The
# wake-up may be lost, so it need not wait for the disk.
RING: Final = "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%(channel)s::text, '')"


def alone(settling: LiteralString) -> LiteralString:
    """A settling statement by itself."""
    return f"WITH {settling} SELECT FROM settled"


def and_claim(settling: LiteralString) -> LiteralString:
    """A settling statement that also claims the next task."""
    return f"WITH {settling}, {NEXT} SELECT * FROM claimed ORDER BY sort_at, id"


def fetch(statement: LiteralString, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Run one prepared statement on Django's connection and return its rows.

    Raises:
        django.db.Error: as every Django cursor does.
    """
    django = connections[DEFAULT_DB_ALIAS]
    django.close_if_health_check_failed()
    django.ensure_connection()
    connection: psycopg.Connection[Any] = django.connection
    if connection.prepare_threshold is None:
        # Django turns prepared statements off, and psycopg then ignores `prepare`. So high, it concerns ours alone.
        connection.prepare_threshold = 1_000_000_000
    began = time.perf_counter()
    with django.wrap_database_errors, psycopg.Cursor(connection) as cursor:
        cursor.execute(statement, parameters, prepare=True)
        rows = cursor.fetchall()
    if django.queries_logged:
        django.queries_log.append({"sql": statement, "time": f"{time.perf_counter() - began:.3f}"})
    return rows
