"""Events: send them, wait for them, route them."""

from __future__ import annotations

from typing import Final

from taskqueue.engine.sql.journal import LEASED

# Insert an event; no row when its external id has been used within the window.
SEND: Final = """
INSERT INTO taskqueue_event (id, name, data, external_id, unique_id, source_id, received_at, closed, traceparent)
VALUES (
    %(id)s::uuid, %(name)s::text, %(data)s::jsonb, %(external_id)s::text, %(external_id)s::text, %(source)s::uuid,
    statement_timestamp(), %(closed)s::jsonb, %(traceparent)s::text
)
ON CONFLICT DO NOTHING
RETURNING id
"""

# Send an event from a step. The event and the step's record are one statement: it is sent once.
EMIT: Final = f"""
WITH {LEASED}, step AS (
    INSERT INTO taskqueue_step (
        task_id, key, name, kind, status, failures, input, input_hash, output, started_at, finished_at
    )
    SELECT leased.id, %(key)s::text, %(step)s::text, 'emit', 'succeeded', 0, %(data)s::jsonb, %(input_hash)s::text,
        to_jsonb(%(id)s::text), statement_timestamp(), statement_timestamp()
    FROM leased
    ON CONFLICT (task_id, key) DO NOTHING
    RETURNING task_id
)
INSERT INTO taskqueue_event (id, name, data, external_id, unique_id, source_id, received_at, traceparent)
SELECT %(id)s::uuid, %(name)s::text, %(data)s::jsonb, '', '', task_id, statement_timestamp(), %(traceparent)s::text
FROM step
RETURNING id
"""

# Lock an event name: a transaction that registers a wait and one that routes an event must see each other.
LOCK_EVENT_NAME: Final = "SELECT pg_advisory_xact_lock(%(space)s::int, hashtext(%(name)s::text))"

# Events received since the task was created, without the one that started it and those that it has received. An event
# whose sender committed late counts from its routing; one that is not routed yet will find the wait.
RECEIVED_SINCE: Final = """(
    event.received_at >= %(created_at)s::timestamptz OR event.routed_at > %(created_at)s::timestamptz
) AND event.id IS DISTINCT FROM %(started_by)s::uuid AND event.id <> ALL (ARRAY(
    SELECT resolved_by_id FROM taskqueue_wait WHERE task_id = %(task)s::uuid AND resolved_by_id IS NOT NULL
))"""

# Find events that a new wait has missed, the oldest first.
FIND_EARLIER_EVENTS: Final = f"""
SELECT event.id, event.data::text, event.received_at::text
FROM taskqueue_event event
WHERE event.name = %(name)s::text AND event.id > %(since)s::uuid AND {RECEIVED_SINCE}
ORDER BY event.name, event.id LIMIT 20
"""

# Find events that a new wait with `match` has missed, the oldest first. The values are looked up first: in the order
# of ids every event of the name would be read on the way to one that matches.
FIND_EARLIER_MATCHES: Final = f"""
WITH event AS MATERIALIZED (
    SELECT id, data, received_at, routed_at FROM taskqueue_event
    WHERE name = %(name)s::text AND id > %(since)s::uuid AND data @> %(within)s::jsonb
)
SELECT event.id, event.data::text, event.received_at::text
FROM event WHERE {RECEIVED_SINCE}
ORDER BY event.id LIMIT 20
"""

# Register that a step waits for an event or, with an empty step key, that the event cancels the task.
REGISTER_WAIT: Final = """
INSERT INTO taskqueue_wait (
    task_id, step_key, position, event, match, fields, digest, until, created_at, outcome,
    assignees, question, answer_schema, answer_model, answered_by
)
VALUES (
    %(task)s::uuid, %(key)s::text, %(position)s::smallint, %(name)s::text, %(match)s::jsonb, %(fields)s::text,
    %(digest)s::text,
    (SELECT until FROM taskqueue_step WHERE task_id = %(task)s::uuid AND key = %(key)s::text),
    statement_timestamp(), '',
    %(assignees)s::text[], %(question)s::text, %(answer_schema)s::jsonb, %(answer_model)s::text, ''
)
ON CONFLICT (task_id, step_key, position) DO NOTHING
RETURNING id
"""

# Lock an event that is still to be routed.
LOCK_EVENT: Final = """
SELECT name, data::text, received_at::text, closed::text, traceparent FROM taskqueue_event
WHERE id = %(event)s::uuid AND routed_at IS NULL
FOR NO KEY UPDATE SKIP LOCKED
"""

# List the fields by which open waits match events of a name: each distinct list once, by one index probe each.
OPEN_WAIT_FIELDS: Final = """
WITH RECURSIVE lists AS (
    (
        SELECT fields FROM taskqueue_wait
        WHERE outcome = '' AND event = %(name)s::text ORDER BY event, fields, digest LIMIT 1
    )
    UNION ALL
    SELECT following.fields FROM lists CROSS JOIN LATERAL (
        SELECT fields FROM taskqueue_wait
        WHERE outcome = '' AND event = %(name)s::text AND fields > lists.fields ORDER BY event, fields, digest LIMIT 1
    ) AS following
)
SELECT fields FROM lists
"""

# The open waits that an event matches: one index probe per list of fields, whatever the statistics say.
MATCHING_WAITS: Final = """matching AS MATERIALIZED (
    SELECT wait.id, wait.task_id, wait.step_key, wait.position
    FROM unnest(%(fields)s::text[], %(digests)s::text[]) AS sought (fields, digest)
    CROSS JOIN LATERAL (
        SELECT id, task_id, step_key, position FROM taskqueue_wait
        WHERE outcome = '' AND event = %(name)s::text
            AND fields = sought.fields COLLATE "C" AND digest = sought.digest
        ORDER BY event, fields, digest OFFSET 0
    ) AS wait
)"""

# Lock the tasks whose waits an event matches. In the order of ids, so parents before children: every transaction that
# locks several tasks uses this order, so they cannot deadlock.
LOCK_WAITING_TASKS: Final = f"""
WITH {MATCHING_WAITS}
SELECT task.id, task.finished_at IS NOT NULL FROM taskqueue_task task
WHERE task.id = ANY (ARRAY(SELECT task_id FROM matching))
ORDER BY task.id
FOR NO KEY UPDATE
"""

# Resolve the waits of `cancel_on` that an event matches, and return the tasks to cancel.
RESOLVE_CANCEL_WAITS: Final = f"""
WITH {MATCHING_WAITS}
UPDATE taskqueue_wait wait
SET outcome = 'event', resolved_by_id = %(event)s::uuid, resolved_at = statement_timestamp()
FROM matching WHERE wait.id = matching.id AND wait.step_key = '' AND wait.task_id <> ALL (%(spared)s::uuid[])
RETURNING wait.task_id
"""

# Find the tasks that an event would cancel, with their pipelines.
FIND_TASKS_TO_CANCEL: Final = f"""
WITH {MATCHING_WAITS}
SELECT task.id, task.pipeline_id FROM taskqueue_task task
WHERE task.id = ANY (ARRAY(SELECT task_id FROM matching WHERE step_key = '')) AND task.finished_at IS NULL
"""

# Give an event to the steps whose waits it matches: one wait per task, none of a task that has received it. The first
# of two events counts, and of an event and a timeout: the timeout is first when the task has gone on, or when the
# event came later.
RESOLVE_WAITS: Final = f"""
WITH {MATCHING_WAITS}, chosen AS MATERIALIZED (
    SELECT DISTINCT ON (matching.task_id) matching.task_id, matching.step_key, matching.position, step.id AS step_id
    FROM matching
    JOIN taskqueue_step step ON step.task_id = matching.task_id AND step.key = matching.step_key
    WHERE step.status = 'waiting' AND (step.until IS NULL OR step.until > %(received_at)s::timestamptz)
        AND NOT EXISTS (
            SELECT FROM taskqueue_wait used
            WHERE used.task_id = matching.task_id AND used.resolved_by_id = %(event)s::uuid
        )
    ORDER BY matching.task_id, step.id, matching.position
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

# Give an event that came earlier to a step that has just registered its wait, under the task's lock.
RESOLVE_WAIT: Final = """
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

# Give an answer to a step whose wait is open, under the task's lock. No row if the wait has ended, or its time is over.
RESOLVE_QUESTION: Final = """
WITH step AS (
    UPDATE taskqueue_step step
    SET status = 'succeeded', finished_at = greatest(statement_timestamp(), step.started_at),
        output = jsonb_build_object(
            'id', NULL, 'name', wait.event, 'data', %(data)s::jsonb, 'received_at', statement_timestamp()::text,
            'answered_by', %(by)s::text, 'index', wait.position
        )
    FROM taskqueue_wait wait
    WHERE wait.id = %(wait)s::bigint AND wait.outcome = '' AND wait.assignees IS NOT NULL
        AND step.task_id = wait.task_id AND step.key = wait.step_key AND step.status = 'waiting'
        AND (step.until IS NULL OR step.until > statement_timestamp())
    RETURNING step.task_id, step.key
)
UPDATE taskqueue_wait wait
SET outcome = CASE WHEN wait.id = %(wait)s::bigint THEN 'answer' ELSE 'closed' END,
    answered_by = CASE WHEN wait.id = %(wait)s::bigint THEN %(by)s::text ELSE '' END,
    resolved_at = statement_timestamp()
FROM step WHERE wait.task_id = step.task_id AND wait.step_key = step.key AND wait.outcome = ''
RETURNING wait.id
"""

# Record that an event has been routed.
MARK_ROUTED: Final = "UPDATE taskqueue_event SET routed_at = statement_timestamp() WHERE id = %(event)s::uuid"

# Find the oldest deferred starts of pipelines that this process has the code of, by one index probe each. The range,
# which is one name, is written so that only the index of deferred starts has the order.
FIND_DEFERRED_STARTS: Final = """
SELECT deferred.id
FROM unnest(%(pipelines)s::text[]) AS deployed (name) CROSS JOIN LATERAL (
    WITH RECURSIVE oldest AS (
        (
            SELECT id FROM taskqueue_skip
            WHERE kind = 'deferred' AND id > %(after)s::bigint
                AND pipeline_id >= deployed.name COLLATE "C" AND pipeline_id <= deployed.name COLLATE "C"
            ORDER BY pipeline_id, id LIMIT 1
        )
        UNION ALL
        SELECT following.id FROM oldest CROSS JOIN LATERAL (
            SELECT id FROM taskqueue_skip
            WHERE kind = 'deferred' AND id > oldest.id
                AND pipeline_id >= deployed.name COLLATE "C" AND pipeline_id <= deployed.name COLLATE "C"
            ORDER BY pipeline_id, id LIMIT 1
        ) AS following
    )
    SELECT id FROM oldest LIMIT 50
) AS deferred
ORDER BY deferred.id LIMIT 50
"""

# Find events that are still to be routed.
FIND_UNROUTED: Final = (
    "SELECT id FROM taskqueue_event WHERE routed_at IS NULL AND id > %(after)s::uuid ORDER BY id LIMIT 50"
)
