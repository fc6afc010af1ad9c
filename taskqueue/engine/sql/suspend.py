"""Statements of a task's pauses: it waits for a time, an event or other tasks, and holds no worker."""

from __future__ import annotations

from typing import Final

from taskqueue.engine.sql.journal import HELD

# Held until the transaction ends: neither recovery, nor a cancel, nor whoever resolves what it waits for can slip in.
HOLD: Final = f"WITH {HELD} SELECT id FROM held"

# A plain step that is to be called again may have become a pause in the code of now: it is one from here on. For what
# the statement returns something may have to be made; a pause that was there already has it.
RECORD_PAUSE: Final = """
INSERT INTO taskqueue_step AS known (
    task_id, key, name, kind, status, failures, input, input_hash, until, child_id, started_at, finished_at
)
SELECT
    %(task)s::uuid, pause.key, pause.name, pause.kind, 'waiting', 0, pause.input::jsonb, pause.input_hash,
    coalesce(pause.until, statement_timestamp() + pause.delay), NULL, statement_timestamp(), statement_timestamp()
FROM unnest(
    %(keys)s::text[], %(names)s::text[], %(kinds)s::text[], %(inputs)s::text[], %(input_hashes)s::text[],
    %(untils)s::timestamptz[], %(delays)s::interval[]
) WITH ORDINALITY AS pause (key, name, kind, input, input_hash, until, delay, position)
ORDER BY pause.position
ON CONFLICT (task_id, key) DO UPDATE
SET name = EXCLUDED.name, kind = EXCLUDED.kind, status = 'waiting', input = EXCLUDED.input,
    input_hash = EXCLUDED.input_hash, error = NULL, until = EXCLUDED.until, started_at = EXCLUDED.started_at,
    finished_at = EXCLUDED.finished_at
WHERE known.kind = 'step' AND known.status IN ('retrying', 'waiting')
RETURNING key
"""

# What the body no longer asks for is forgotten. The task goes on at once if all that it waits for is there already,
# or something of it is over by the clock.
SET_WAITING: Final = """
WITH forgotten AS (
    DELETE FROM taskqueue_step
    WHERE task_id = %(task)s::uuid AND status = 'waiting' AND kind <> 'step'
        AND key NOT IN (SELECT unnest(%(keys)s::text[]))
    RETURNING key
), unasked AS (
    DELETE FROM taskqueue_wait WHERE task_id = %(task)s::uuid AND step_key IN (SELECT key FROM forgotten)
), open AS (
    SELECT count(*) = 0 OR coalesce(min(until) <= statement_timestamp(), false) AS is_over, min(until) AS until
    FROM taskqueue_step
    WHERE task_id = %(task)s::uuid AND status = 'waiting' AND key IN (SELECT unnest(%(keys)s::text[]))
)
UPDATE taskqueue_task task
SET status = CASE WHEN open.is_over THEN 'queued' ELSE 'waiting' END, blocked_on = '',
    output_bytes = %(output_bytes)s::bigint,
    due_at = CASE WHEN open.is_over THEN statement_timestamp() ELSE open.until END,
    sort_at = CASE WHEN open.is_over THEN statement_timestamp() ELSE open.until END
        - make_interval(secs => task.priority)
FROM open
WHERE task.id = %(task)s::uuid AND task.status = 'running'
RETURNING task.status
"""

# In the transaction that has resolved something for which the task waits, and that holds the task's row.
WAKE: Final = """
UPDATE taskqueue_task task
SET status = 'queued', blocked_on = '', due_at = statement_timestamp(),
    sort_at = statement_timestamp() - make_interval(secs => task.priority)
WHERE task.id = %(task)s::uuid AND task.status = 'waiting' AND NOT EXISTS (
    SELECT FROM taskqueue_step WHERE task_id = task.id AND status = 'waiting' AND kind <> 'step'
)
RETURNING task.id
"""
WAKE_ALL: Final = WAKE.replace("task.id = %(task)s::uuid", "task.id = ANY (%(tasks)s::uuid[])")

# When a task goes on: what is over by the clock ends now. Whoever resolves it at this moment has the row's lock, and
# this statement then finds it resolved. A step that was given a time by its rate is not touched.
CLOSE_OVERDUE: Final = """
WITH over AS (
    UPDATE taskqueue_step step
    SET status = CASE WHEN kind IN ('sleep', 'wait') THEN 'succeeded' ELSE 'failed' END,
        output = CASE WHEN kind IN ('sleep', 'wait') THEN 'null'::jsonb END,
        error = CASE WHEN kind IN ('sleep', 'wait') THEN NULL ELSE jsonb_build_object(
            'type', 'TimedOut', 'message', 'It did not end within its timeout.'
        ) END,
        finished_at = greatest(step.until, step.started_at)
    WHERE task_id = %(task)s::uuid AND status = 'waiting' AND kind <> 'step' AND until <= statement_timestamp()
    RETURNING key, kind, child_id
), closed AS (
    UPDATE taskqueue_wait SET outcome = 'timeout', resolved_at = until
    WHERE task_id = %(task)s::uuid AND outcome = '' AND step_key IN (SELECT key FROM over)
)
SELECT key, kind, child_id FROM over
"""
