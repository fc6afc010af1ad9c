"""Statements of events: sending, waiting for them, and routing them to those who wait."""

from __future__ import annotations

from typing import Final

from taskqueue.engine.statements.recording import HELD

# A sender's id makes duplicates for its window only; then it can be used again.
FREE_ID: Final = """
UPDATE taskqueue_event SET unique_id = ''
WHERE unique_id = %(external_id)s::text AND unique_id <> ''
    AND received_at <= statement_timestamp() - %(window)s::interval
"""

SEND: Final = """
INSERT INTO taskqueue_event (id, name, data, external_id, unique_id, source_id, received_at)
VALUES (
    %(id)s::uuid, %(name)s::text, %(data)s::jsonb, %(external_id)s::text, %(external_id)s::text, %(source)s::uuid,
    statement_timestamp()
)
ON CONFLICT DO NOTHING
RETURNING id
"""

# The event and the step that says that it was sent are one statement: it is sent once.
EMIT: Final = f"""
WITH {HELD}, step AS (
    INSERT INTO taskqueue_step (
        task_id, key, name, kind, status, failures, input, input_hash, output, started_at, finished_at
    )
    SELECT held.id, %(key)s::text, %(step)s::text, 'emit', 'succeeded', 0, %(data)s::jsonb, %(input_hash)s::text,
        to_jsonb(%(id)s::text), statement_timestamp(), statement_timestamp()
    FROM held
    ON CONFLICT (task_id, key) DO NOTHING
    RETURNING task_id
)
INSERT INTO taskqueue_event (id, name, data, external_id, unique_id, source_id, received_at)
SELECT %(id)s::uuid, %(name)s::text, %(data)s::jsonb, '', '', task_id, statement_timestamp() FROM step
RETURNING id
"""

# One at a time for each name: who registers a wait and who routes an event must not pass by each other unseen.
LOCK_EVENT_NAME: Final = "SELECT pg_advisory_xact_lock(%(space)s::int, hashtext(%(name)s::text))"

# Events that came since the task was made, the oldest first, without those that it has had.
LOOK_BACK: Final = """
SELECT event.id, event.data::text, event.received_at::text
FROM taskqueue_event event JOIN taskqueue_task task ON task.id = %(task)s::uuid
WHERE event.name = %(name)s::text AND event.id > %(since)s::uuid AND event.received_at >= task.created_at
    AND (event.source_id IS NULL OR event.source_id <> task.id) AND event.id IS DISTINCT FROM task.event_id
    AND event.data @> %(within)s::jsonb
    AND NOT EXISTS (
        SELECT FROM taskqueue_wait used WHERE used.task_id = task.id AND used.resolved_by_id = event.id
    )
ORDER BY event.id LIMIT 100
"""

REGISTER_WAIT: Final = """
INSERT INTO taskqueue_wait (task_id, step_key, position, event, match, fields, digest, until, created_at, outcome)
VALUES (
    %(task)s::uuid, %(key)s::text, %(position)s::smallint, %(name)s::text, %(match)s::jsonb, %(fields)s::text,
    %(digest)s::text,
    (SELECT until FROM taskqueue_step WHERE task_id = %(task)s::uuid AND key = %(key)s::text),
    statement_timestamp(), ''
)
ON CONFLICT (task_id, step_key, position) DO NOTHING
RETURNING id
"""

LOCK_EVENT: Final = """
SELECT name, data::text, received_at::text FROM taskqueue_event
WHERE id = %(event)s::uuid AND routed_at IS NULL
FOR NO KEY UPDATE SKIP LOCKED
"""

# By which fields of their data events of this name are waited for: each distinct list once, by one probe each.
OPEN_FIELDS: Final = """
WITH RECURSIVE known AS (
    (
        SELECT fields FROM taskqueue_wait
        WHERE outcome = '' AND event = %(name)s::text ORDER BY event, fields, digest LIMIT 1
    )
    UNION ALL
    SELECT following.fields FROM known CROSS JOIN LATERAL (
        SELECT fields FROM taskqueue_wait
        WHERE outcome = '' AND event = %(name)s::text AND fields > known.fields ORDER BY event, fields, digest LIMIT 1
    ) AS following
)
SELECT fields FROM known
"""

# Parents before children, and all in one order: nobody who locks tasks meets another who goes the other way.
OPEN_WAITS: Final = """
SELECT wait.id, wait.task_id, wait.step_key, wait.position
FROM unnest(%(fields)s::text[], %(digests)s::text[]) AS sought (fields, digest)
CROSS JOIN LATERAL (
    SELECT id, task_id, step_key, position FROM taskqueue_wait
    WHERE outcome = '' AND event = %(name)s::text
        AND fields = sought.fields COLLATE "C" AND digest = sought.digest
        AND (until IS NULL OR until > statement_timestamp())
    ORDER BY event, fields, digest OFFSET 0 -- a probe for each, whatever the planner thinks of the table
) AS wait
ORDER BY wait.task_id, wait.id
"""

LOCK_LIVE_TASK: Final = """
SELECT id FROM taskqueue_task WHERE id = %(task)s::uuid AND finished_at IS NULL FOR NO KEY UPDATE
"""

# Under the task's lock. Of an event and the clock, and of two events, the first one counts.
RESOLVE: Final = """
WITH step AS (
    UPDATE taskqueue_step
    SET status = 'succeeded', output = %(output)s::jsonb, finished_at = greatest(statement_timestamp(), started_at)
    WHERE task_id = %(task)s::uuid AND key = %(key)s::text AND status = 'waiting'
        AND (until IS NULL OR until > statement_timestamp())
    RETURNING task_id
)
UPDATE taskqueue_wait wait
SET outcome = CASE WHEN wait.position = %(position)s::int THEN 'event' ELSE 'closed' END,
    resolved_by_id = CASE WHEN wait.position = %(position)s::int THEN %(event)s::uuid END,
    resolved_at = statement_timestamp()
FROM step
WHERE wait.task_id = step.task_id AND wait.step_key = %(key)s::text AND wait.outcome = ''
RETURNING wait.id
"""

ROUTED: Final = "UPDATE taskqueue_event SET routed_at = statement_timestamp() WHERE id = %(event)s::uuid"

UNROUTED: Final = "SELECT id FROM taskqueue_event WHERE routed_at IS NULL AND id > %(after)s::uuid ORDER BY id LIMIT 50"
