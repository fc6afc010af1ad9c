"""`ENQUEUE`: create a task, with its idempotency key, in one statement."""

from __future__ import annotations

from typing import Final

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

# Create a task. No row when its key stands for another task, or when a unique index (singleton, debounce, the run of a
# schedule) finds one.
ENQUEUE: Final = f"""
WITH pipeline AS (
    -- A pipeline that has no row yet (a new deploy, an emptied test database) must not fail its first caller.
    INSERT INTO taskqueue_pipeline (name, description, payload_schema, result_schema, retry)
    SELECT %(pipeline)s::text, '', '{{}}', '{{}}', '[]'
    WHERE NOT EXISTS (SELECT FROM taskqueue_pipeline WHERE name = %(pipeline)s::text)
    ON CONFLICT DO NOTHING
    RETURNING name
), reserved AS (
    -- Of several callers with a new key the first wins; the others wait for its commit and then insert no task.
    INSERT INTO taskqueue_idempotencykey AS existing (pipeline_id, key, task_id, expires_at, payload_digest)
    SELECT %(pipeline)s::text, %(key)s::text, %(id)s::uuid, statement_timestamp() + %(window)s::interval,
        %(payload_digest)s::text
    WHERE %(key)s::text <> '' AND {KEY_IS_FREE}
    ON CONFLICT (pipeline_id, key) DO UPDATE SET task_id = EXCLUDED.task_id, expires_at = EXCLUDED.expires_at,
        payload_digest = EXCLUDED.payload_digest
    WHERE existing.expires_at <= statement_timestamp() OR %(force)s::boolean
    RETURNING 1
), due AS (
    SELECT greatest(%(run_at)s::timestamptz, statement_timestamp() + %(delay)s::interval) AS at
)
INSERT INTO taskqueue_task (
    id, pipeline_id, status, key, labels, subject, priority, payload, due_at, sort_at,
    lease, failures, progress_note, rerun_of_id, created_at,
    concurrency_key, version, start_by, finish_within, cancel_grace, notify_completion, debounce_key, singleton_key,
    cron_at, event_id,
    parent_id, parent_key, parallel_step, depth, shares_slot
)
SELECT
    %(id)s::uuid, %(pipeline)s::text, CASE WHEN due.at > statement_timestamp() THEN 'scheduled' ELSE 'queued' END,
    %(key)s::text, %(labels)s::jsonb, %(subject)s::text, %(priority)s::smallint, %(payload)s::jsonb,
    due.at, due.at - make_interval(secs => %(priority)s::smallint), 0, 0, '', %(rerun_of)s::uuid, statement_timestamp(),
    %(concurrency_key)s::text, %(version)s::text, due.at + %(start_within)s::interval, %(finish_within)s::interval,
    %(cancel_grace)s::interval, %(notify_completion)s::boolean, %(debounce_key)s::text, %(singleton_key)s::text,
    %(cron_at)s::timestamptz, %(event)s::uuid,
    %(parent)s::uuid, %(parent_key)s::text, '', %(depth)s::smallint, false
FROM due
WHERE %(key)s::text = '' OR EXISTS (SELECT FROM reserved)
-- A singleton, a debounced task, a batch, or the run of a schedule that exists already.
ON CONFLICT DO NOTHING
RETURNING status, due_at, sort_at, created_at, EXISTS (SELECT FROM pipeline)
"""
