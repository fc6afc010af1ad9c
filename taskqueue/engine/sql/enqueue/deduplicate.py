"""Requests that may find an existing task: `ENQUEUE`, idempotency keys, debounce, batch. And the next due schedule."""

from __future__ import annotations

from typing import Final, LiteralString

from taskqueue.engine.sql.enqueue.single import CREATED, PIPELINE_EXISTS, insert_task
from taskqueue.engine.sql.run import selected
from taskqueue.models import Task

# The row of a request's key, as a range: with an order only the key's index fits it, whatever the statistics say.
OF_KEY: Final = """(taken.pipeline_id, taken.key) >= (%(pipeline)s::text, %(key)s::text)
            AND (taken.pipeline_id, taken.key) <= (%(pipeline)s::text, %(key)s::text)"""

# Whether a request's key belongs to a task, by a read that takes no lock: callers with one key must not wait for each
# other, once its task exists.
KEY_IS_FREE: Final = f"""(%(force)s::boolean OR (
        SELECT true FROM taskqueue_idempotencykey taken
        WHERE {OF_KEY} AND taken.expires_at > statement_timestamp()
        ORDER BY taken.pipeline_id, taken.key LIMIT 1
    ) IS NULL)"""


def reserve_key(condition: LiteralString) -> LiteralString:
    """Reserve an idempotency key. Of several callers with a new key the first wins; the others wait for its commit."""
    return f"""INSERT INTO taskqueue_idempotencykey AS existing (pipeline_id, key, task_id, expires_at, payload_digest)
    SELECT %(pipeline)s::text, %(key)s::text, %(id)s::uuid, statement_timestamp() + %(window)s::interval,
        %(payload_digest)s::text
    WHERE {condition}
    ON CONFLICT (pipeline_id, key) DO UPDATE SET task_id = EXCLUDED.task_id, expires_at = EXCLUDED.expires_at,
        payload_digest = EXCLUDED.payload_digest
    WHERE existing.expires_at <= statement_timestamp() OR %(force)s::boolean
    RETURNING 1"""


OTHER_COLUMNS: Final = """,
    rerun_of_id, debounce_key, singleton_key, cron_at, event_id, parent_id, parent_key, parallel_step, depth,
    shares_slot, traceparent"""
OTHER_VALUES: Final = """,
    %(rerun_of)s::uuid, %(debounce_key)s::text, %(singleton_key)s::text, %(cron_at)s::timestamptz, %(event)s::uuid,
    %(parent)s::uuid, %(parent_key)s::text, '', %(depth)s::smallint, false, %(traceparent)s::text"""
START: Final = "greatest(%(run_at)s::timestamptz, statement_timestamp() + %(delay)s::interval)"

# Create any task, with its idempotency key. No row when its key stands for another task, when a unique index
# (singleton, debounce, the run of a schedule) finds one, or when its pipeline has no row.
ENQUEUE: Final = f"""
WITH reserved AS (
    -- Callers that waited for another one's commit then insert no task.
    {reserve_key(f"%(key)s::text <> '' AND {PIPELINE_EXISTS} AND {KEY_IS_FREE}")}
)
{insert_task(START, OTHER_COLUMNS, OTHER_VALUES)}
WHERE {PIPELINE_EXISTS} AND (%(key)s::text = '' OR EXISTS (SELECT FROM reserved))
-- A singleton, a debounced task, a batch, or the run of a schedule that exists already.
ON CONFLICT DO NOTHING
{CREATED}
"""

# Reserve an idempotency key before it is known which task it will stand for; ENQUEUE does the same for
# requests that share no task.
RESERVE_KEY: Final = reserve_key(KEY_IS_FREE)

# What a duplicate's answer does not show, and what may be large.
UNREAD: Final = ("payload", "result", "drift")
EXISTING_COLUMNS: Final = tuple(f.attname for f in Task._meta.concrete_fields if f.attname not in UNREAD)
# Read the task that an idempotency key belongs to, with the digest of the payload that the key was used with.
TASK_OF_KEY: Final = f"""
SELECT existing.payload_digest, {selected("task", EXISTING_COLUMNS)}
FROM (
    SELECT taken.task_id, taken.payload_digest FROM taskqueue_idempotencykey taken
    WHERE {OF_KEY}
    ORDER BY taken.pipeline_id, taken.key LIMIT 1
) AS existing
CROSS JOIN LATERAL (SELECT * FROM taskqueue_task WHERE id = existing.task_id LIMIT 1) AS task
"""

# Record a request that created no task, because an existing one serves it.
RECORD_SKIP: Final = """
INSERT INTO taskqueue_skip (pipeline_id, kind, reason, key, task_id, event_id, created_at)
VALUES (%(pipeline)s::text, %(kind)s::text, %(reason)s::text, %(key)s::text, %(task)s::uuid, %(event)s::uuid,
    statement_timestamp())
"""

# When a debounced task starts: after the delay, at the latest so long after the first request.
DEBOUNCED_UNTIL: Final = """greatest(
    statement_timestamp(),
    least(statement_timestamp() + %(delay)s::interval, task.created_at + %(longest)s::interval)
)"""

# Replace the payload of the debounced task that waits, and wait again. A task that has become due is no longer
# `unique_debounce`: a caller that waited for its row then finds none.
DEBOUNCE: Final = f"""
UPDATE taskqueue_task task
SET payload = %(payload)s::jsonb, labels = %(labels)s::jsonb, subject = %(subject)s::text,
    priority = %(priority)s::smallint,
    key = coalesce(nullif(%(key)s::text, ''), task.key), concurrency_key = %(concurrency_key)s::text,
    version = %(version)s::text,
    due_at = {DEBOUNCED_UNTIL}, sort_at = {DEBOUNCED_UNTIL} - make_interval(secs => %(priority)s::smallint),
    start_by = {DEBOUNCED_UNTIL} + %(start_within)s::interval, finish_within = %(finish_within)s::interval,
    cancel_grace = %(cancel_grace)s::interval, notify_completion = %(notify_completion)s::boolean
WHERE task.unique_debounce = %(pipeline)s::text || ' ' || %(debounce_key)s::text
RETURNING task.id, true, task.due_at <= statement_timestamp()
"""

# Add items to the waiting batch if they fit; else start the batch as it is. Items never fit into a payload of another
# shape, from an earlier version of the code.
ADD_TO_BATCH: Final = """
WITH waiting AS MATERIALIZED (
    SELECT id, payload -> %(field)s::text AS items FROM taskqueue_task
    WHERE unique_debounce = %(pipeline)s::text || ' ' || %(debounce_key)s::text
    FOR NO KEY UPDATE
), merged AS MATERIALIZED (
    SELECT id, CASE WHEN jsonb_typeof(items) = 'array' THEN
        jsonb_build_object(%(field)s::text, items || (%(payload)s::jsonb -> %(field)s::text))
    END AS payload
    FROM waiting
), checked AS MATERIALIZED (
    SELECT id, payload, coalesce(
        jsonb_array_length(payload -> %(field)s::text) <= %(size)s::int
        AND octet_length(payload::text) <= %(most_bytes)s::int, false
    ) AS fits, coalesce(jsonb_array_length(payload -> %(field)s::text) >= %(size)s::int, true) AS is_full
    FROM merged
)
UPDATE taskqueue_task task
SET payload = CASE WHEN fits THEN checked.payload ELSE task.payload END,
    status = CASE WHEN fits AND NOT is_full THEN task.status ELSE 'queued' END,
    due_at = CASE WHEN fits AND NOT is_full THEN task.due_at ELSE statement_timestamp() END,
    sort_at = CASE WHEN fits AND NOT is_full THEN task.sort_at
        ELSE statement_timestamp() - make_interval(secs => task.priority) END,
    start_by = CASE WHEN fits AND NOT is_full THEN task.start_by
        ELSE statement_timestamp() + %(start_within)s::interval END
FROM checked
WHERE task.id = checked.id AND task.id = (SELECT id FROM checked)
RETURNING task.id, fits, task.status = 'queued'
"""

# Lock the next schedule that is due. One process at a time has the lock, while it enqueues the runs and sets the next
# time.
NEXT_SCHEDULE: Final = """
SELECT schedule.pipeline_id, schedule.expression, schedule.timezone, schedule.misfire, schedule.next_at,
    statement_timestamp(), CASE WHEN pipeline.paused_at IS NULL THEN ''
        ELSE format('by %%s: %%s', coalesce(nullif(pipeline.paused_by, ''), 'unknown'), pipeline.pause_reason) END
FROM taskqueue_schedule schedule JOIN taskqueue_pipeline pipeline ON pipeline.name = schedule.pipeline_id
WHERE schedule.next_at <= statement_timestamp() AND schedule.pipeline_id = ANY (%(pipelines)s::text[])
ORDER BY schedule.next_at LIMIT 1
FOR NO KEY UPDATE OF schedule SKIP LOCKED
"""
