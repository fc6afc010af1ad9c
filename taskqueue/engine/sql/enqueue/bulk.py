"""Bulk enqueue: take the locks of many requests in one order, and create many tasks in one statement."""

from __future__ import annotations

from typing import Final

# Reserve the keys of a bulk request, in the order of the lists, which is sorted for every request. Each key's row is
# locked, also one that stands for another task: of two requests that share keys one waits at the first key, and holds
# no lock meanwhile.
RESERVE_KEYS: Final = """
INSERT INTO taskqueue_idempotencykey AS existing (pipeline_id, key, task_id, expires_at, payload_digest)
SELECT pipeline, key, id, statement_timestamp() + %(window)s::interval, payload_digest
FROM unnest(%(pipelines)s::text[], %(keys)s::text[], %(ids)s::uuid[], %(payload_digests)s::text[])
    WITH ORDINALITY AS wanted (pipeline, key, id, payload_digest, position)
ORDER BY position
ON CONFLICT (pipeline_id, key) DO UPDATE
SET task_id = EXCLUDED.task_id, expires_at = EXCLUDED.expires_at, payload_digest = EXCLUDED.payload_digest
WHERE existing.expires_at <= statement_timestamp()
RETURNING task_id
"""

# Admit one bulk request at a time, for pipelines with singletons or debounce.
LOCK_PIPELINES: Final = """
SELECT pg_advisory_xact_lock(%(space)s::int, hashtext(pipeline))
FROM unnest(%(pipelines)s::text[]) AS wanted (pipeline) ORDER BY hashtext(pipeline)
"""

# Create many tasks that no existing task can serve: their keys are reserved, and they are neither singletons nor
# debounced. The rows are one JSON array, from which everything that has its default is left out. The answer is one row,
# from which the caller knows the rest: reading a row for each task would cost it more than writing the tasks.
ENQUEUE_MANY: Final = """
WITH definitions AS MATERIALIZED (
    SELECT * FROM unnest(
        %(pipelines)s::text[], %(versions)s::text[], %(start_withins)s::interval[], %(finish_withins)s::interval[],
        %(cancel_graces)s::interval[], %(notify_completions)s::boolean[]
    ) AS definitions (pipeline, version, start_within, finish_within, cancel_grace, notify_completion)
), new_pipelines AS (
    INSERT INTO taskqueue_pipeline (name, description, payload_schema, result_schema, retry)
    SELECT definitions.pipeline, '', '{}', '{}', '[]' FROM definitions
    WHERE NOT EXISTS (SELECT FROM taskqueue_pipeline WHERE name = definitions.pipeline)
    ON CONFLICT DO NOTHING
    RETURNING name
), new AS (
    SELECT requests.*, greatest(requests.run_at, statement_timestamp()) AS due_at
    FROM json_to_recordset(%(requests)s::json) AS requests (
        id uuid, pipeline text, payload jsonb, key text, labels jsonb, subject text, priority smallint,
        run_at timestamptz, concurrency_key text, traceparent text
    )
), inserted AS (
    INSERT INTO taskqueue_task (
        id, pipeline_id, status, key, labels, subject, priority, payload, due_at, sort_at, lease, failures,
        progress_note, created_at, concurrency_key, version, start_by, finish_within, cancel_grace, notify_completion,
        traceparent
    )
    SELECT
        new.id, new.pipeline, CASE WHEN new.due_at > statement_timestamp() THEN 'scheduled' ELSE 'queued' END,
        coalesce(new.key, ''), coalesce(new.labels, '{}'), coalesce(new.subject, ''), coalesce(new.priority, 0),
        -- A payload that is JSON's null is read as SQL's.
        coalesce(new.payload, 'null'), new.due_at, new.due_at - make_interval(secs => coalesce(new.priority, 0)), 0, 0,
        '', statement_timestamp(), coalesce(new.concurrency_key, ''), definitions.version,
        new.due_at + definitions.start_within, definitions.finish_within, definitions.cancel_grace,
        definitions.notify_completion, coalesce(new.traceparent, '')
    FROM new JOIN definitions USING (pipeline)
)
SELECT statement_timestamp(), ARRAY(SELECT name FROM new_pipelines)
"""
