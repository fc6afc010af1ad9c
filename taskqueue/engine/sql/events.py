"""Statements of events: sending, waiting for them, and routing them to those who wait."""

from __future__ import annotations

from typing import Final

from taskqueue.engine.sql.journal import HELD

# A sender's id makes duplicates for its window only; then it can be used again.
FREE_ID: Final = """
UPDATE taskqueue_event SET unique_id = ''
WHERE unique_id = %(external_id)s::text AND unique_id <> ''
    AND received_at <= statement_timestamp() - %(window)s::interval
"""

SEND: Final = """
INSERT INTO taskqueue_event (id, name, data, external_id, unique_id, source_id, received_at, closed)
VALUES (
    %(id)s::uuid, %(name)s::text, %(data)s::jsonb, %(external_id)s::text, %(external_id)s::text, %(source)s::uuid,
    statement_timestamp(), %(closed)s::jsonb
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

# Events that came since the task was made, the oldest first, without the one that started it and those that it has had.
# One whose sender took long to commit came when it was routed; and one that is still to be routed finds the wait.
CAME_SINCE: Final = """
(event.received_at >= %(created_at)s::timestamptz OR event.routed_at > %(created_at)s::timestamptz)
AND event.id IS DISTINCT FROM %(started_by)s::uuid AND event.id <> ALL (ARRAY(
    SELECT resolved_by_id FROM taskqueue_wait WHERE task_id = %(task)s::uuid AND resolved_by_id IS NOT NULL
))
"""

LOOK_BACK: Final = f"""
SELECT event.id, event.data::text, event.received_at::text
FROM taskqueue_event event
WHERE event.name = %(name)s::text AND event.id > %(since)s::uuid AND {CAME_SINCE}
ORDER BY event.name, event.id LIMIT 20
"""

# The same when there are values to look for. They are looked for first: a walk in the order of ids would read every
# event of the name on its way to one that fits.
LOOK_BACK_FOR: Final = f"""
WITH event AS MATERIALIZED (
    SELECT id, data, received_at, routed_at FROM taskqueue_event
    WHERE name = %(name)s::text AND id > %(since)s::uuid AND data @> %(within)s::jsonb
)
SELECT event.id, event.data::text, event.received_at::text
FROM event WHERE {CAME_SINCE}
ORDER BY event.id LIMIT 20
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
SELECT name, data::text, received_at::text, closed::text FROM taskqueue_event
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

# The open waits that an event fits: a probe for each list of fields, whatever the planner thinks of the table.
FITTING: Final = """
fitting AS MATERIALIZED (
    SELECT wait.id, wait.task_id, wait.step_key, wait.position
    FROM unnest(%(fields)s::text[], %(digests)s::text[]) AS sought (fields, digest)
    CROSS JOIN LATERAL (
        SELECT id, task_id, step_key, position FROM taskqueue_wait
        WHERE outcome = '' AND event = %(name)s::text
            AND fields = sought.fields COLLATE "C" AND digest = sought.digest
        ORDER BY event, fields, digest OFFSET 0
    ) AS wait
)
"""

# Parents before children, and all in one order: nobody who locks tasks meets another who goes the other way.
LOCK_LISTENERS: Final = f"""
WITH {FITTING}
SELECT task.id, task.finished_at IS NOT NULL FROM taskqueue_task task
WHERE task.id = ANY (ARRAY(SELECT task_id FROM fitting))
ORDER BY task.id
FOR NO KEY UPDATE
"""

# What follows comes after the locks, so that it sees what their last holders did. Of ended tasks few left waits open:
# those whose code has changed since, or that killed their workers. Each is met once.
CLOSE_WAITS: Final = """
UPDATE taskqueue_wait SET outcome = 'closed', resolved_at = statement_timestamp()
WHERE task_id = ANY (%(tasks)s::uuid[]) AND outcome = ''
"""

CANCELLED_BY: Final = f"""
WITH {FITTING}
UPDATE taskqueue_wait wait
SET outcome = 'event', resolved_by_id = %(event)s::uuid, resolved_at = statement_timestamp()
FROM fitting WHERE wait.id = fitting.id AND wait.step_key = '' AND wait.task_id <> ALL (%(spared)s::uuid[])
RETURNING wait.task_id
"""

# Of the listeners those that an event would cancel, by their pipelines.
CANCELLABLE: Final = f"""
WITH {FITTING}
SELECT task.id, task.pipeline_id FROM taskqueue_task task
WHERE task.id = ANY (ARRAY(SELECT task_id FROM fitting WHERE step_key = '')) AND task.finished_at IS NULL
"""

# One wait of each task, and none of a task that has had the event. Of an event and the clock, and of two events, the
# first one counts: the clock is first when the task has gone on, or when the event came after its time.
RESOLVE_ALL: Final = f"""
WITH {FITTING}, chosen AS MATERIALIZED (
    SELECT DISTINCT ON (fitting.task_id) fitting.task_id, fitting.step_key, fitting.position, step.id AS step_id
    FROM fitting
    JOIN taskqueue_step step ON step.task_id = fitting.task_id AND step.key = fitting.step_key
    WHERE step.status = 'waiting' AND (step.until IS NULL OR step.until > %(received_at)s::timestamptz)
        AND NOT EXISTS (
            SELECT FROM taskqueue_wait used
            WHERE used.task_id = fitting.task_id AND used.resolved_by_id = %(event)s::uuid
        )
    ORDER BY fitting.task_id, step.id, fitting.position
), step AS (
    UPDATE taskqueue_step step
    SET status = 'succeeded', finished_at = greatest(statement_timestamp(), step.started_at),
        output = %(arrival)s::jsonb || jsonb_build_object('index', chosen.position)
    FROM chosen WHERE step.id = chosen.step_id AND step.status = 'waiting'
    RETURNING step.task_id, step.key, chosen.position
), resolved AS (
    UPDATE taskqueue_wait wait
    SET outcome = CASE WHEN wait.position = step.position THEN 'event' ELSE 'closed' END,
        resolved_by_id = CASE WHEN wait.position = step.position THEN %(event)s::uuid END,
        resolved_at = statement_timestamp()
    FROM step WHERE wait.task_id = step.task_id AND wait.step_key = step.key AND wait.outcome = ''
)
SELECT task_id FROM step
"""

# The same for a wait that is just being registered and finds its event there: under the task's lock.
RESOLVE: Final = """
WITH step AS (
    UPDATE taskqueue_step
    SET status = 'succeeded', finished_at = greatest(statement_timestamp(), started_at),
        output = %(arrival)s::jsonb || jsonb_build_object('index', %(position)s::int)
    WHERE task_id = %(task)s::uuid AND key = %(key)s::text AND status = 'waiting'
    RETURNING task_id
)
UPDATE taskqueue_wait wait
SET outcome = CASE WHEN wait.position = %(position)s::int THEN 'event' ELSE 'closed' END,
    resolved_by_id = CASE WHEN wait.position = %(position)s::int THEN %(event)s::uuid END,
    resolved_at = statement_timestamp()
FROM step
WHERE wait.task_id = step.task_id AND wait.step_key = %(key)s::text AND wait.outcome = ''
"""

ROUTED: Final = "UPDATE taskqueue_event SET routed_at = statement_timestamp() WHERE id = %(event)s::uuid"

# Of each pipeline that this process's code knows the oldest, by one probe each. The range, which is one name, is
# written so that only the index of deferred starts has the order.
DEFERRED: Final = """
SELECT deferred.id
FROM unnest(%(pipelines)s::text[]) AS known (name) CROSS JOIN LATERAL (
    WITH RECURSIVE walked AS (
        (
            SELECT id FROM taskqueue_skip
            WHERE kind = 'deferred' AND id > %(after)s::bigint
                AND pipeline_id >= known.name COLLATE "C" AND pipeline_id <= known.name COLLATE "C"
            ORDER BY pipeline_id, id LIMIT 1
        )
        UNION ALL
        SELECT following.id FROM walked CROSS JOIN LATERAL (
            SELECT id FROM taskqueue_skip
            WHERE kind = 'deferred' AND id > walked.id
                AND pipeline_id >= known.name COLLATE "C" AND pipeline_id <= known.name COLLATE "C"
            ORDER BY pipeline_id, id LIMIT 1
        ) AS following
    )
    SELECT id FROM walked LIMIT 50
) AS deferred
ORDER BY deferred.id LIMIT 50
"""

LOCK_DEFERRED: Final = """
SELECT skip.event_id, skip.pipeline_id, event.name, event.data::text
FROM taskqueue_skip skip JOIN taskqueue_event event ON event.id = skip.event_id
WHERE skip.id = %(skip)s::bigint AND skip.kind = 'deferred'
FOR UPDATE OF skip SKIP LOCKED
"""

UNROUTED: Final = "SELECT id FROM taskqueue_event WHERE routed_at IS NULL AND id > %(after)s::uuid ORDER BY id LIMIT 50"
