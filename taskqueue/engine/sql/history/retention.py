"""Prune history: each statement deletes a bounded number of rows, found by an index, without waiting for locks.

Those that read rows in an order run after AVOID_SORTING: no plan reads more, whatever the statistics say.
"""

from __future__ import annotations

from typing import Final

from taskqueue.engine.sql.flow_control.admission import RATE_SPACING

# Until the end of the transaction, read rows by the index that has their order: with outdated statistics the planner
# would sort all of them.
AVOID_SORTING: Final = "SELECT set_config('enable_sort', 'off', true)"

PRUNE_SCAN_LIMIT: Final = 200
PRUNE_BATCH: Final = 100

# The oldest tasks of a pipeline. The range, which is one name, is written so that only the index of pipelines has the
# order.
OLDEST_TASKS: Final = """scanned AS MATERIALIZED (
    SELECT id, created_at, finished_at FROM taskqueue_task
    WHERE pipeline_id >= %(pipeline)s::text AND pipeline_id <= %(pipeline)s::text AND id > %(after)s::uuid
    ORDER BY pipeline_id DESC, id LIMIT 200
)"""

# A task may be pruned when its completion has been handled and counted, no idempotency key stands for it, and its
# parent and children have ended. A task with very many skipped requests waits until those have been pruned.
PRUNABLE: Final = """task.finished_at < statement_timestamp() - %(keep)s::interval AND NOT task.notify_completion
AND task.finished_at < coalesce((SELECT final_until FROM taskqueue_rollupmark), 'infinity')
AND NOT EXISTS (
    SELECT FROM taskqueue_task above WHERE above.id = task.parent_id AND above.finished_at IS NULL
)
AND NOT EXISTS (
    SELECT FROM taskqueue_task below WHERE below.parent_id = task.id AND below.finished_at IS NULL
)
AND NOT EXISTS (
    SELECT FROM taskqueue_idempotencykey idempotency_key
    WHERE idempotency_key.task_id = task.id AND idempotency_key.expires_at > statement_timestamp() - interval '1 hour'
)
AND NOT EXISTS (SELECT FROM taskqueue_skip skipped WHERE skipped.task_id = task.id OFFSET 1000)"""

# The last row scanned, and whether all rows that are old enough have been scanned.
LAST_SCANNED: Final = """(SELECT id FROM scanned ORDER BY id DESC LIMIT 1)"""
ALL_SCANNED: Final = """(
    SELECT count(*) < 200 OR coalesce(max(created_at) >= statement_timestamp() - %(keep)s::interval, true) FROM scanned
)"""

# Delete old tasks with all rows that belong to them, and clear references to them. A batch is bounded by its steps and
# chunks, but has at least one task. Foreign keys are checked at the commit.
PRUNE_TASKS: Final = f"""
WITH {OLDEST_TASKS}, free AS MATERIALIZED (
    SELECT task.id,
        (SELECT count(*) FROM (SELECT FROM taskqueue_step WHERE task_id = task.id LIMIT 2000) AS own)
            + (SELECT count(*) FROM (SELECT FROM taskqueue_chunk WHERE task_id = task.id LIMIT 2000) AS own) AS weight
    FROM taskqueue_task task
    WHERE task.id = ANY (ARRAY(
        SELECT id FROM scanned WHERE finished_at < statement_timestamp() - %(keep)s::interval
    )) AND {PRUNABLE}
    ORDER BY task.id LIMIT 100
    FOR UPDATE OF task SKIP LOCKED
), to_delete AS MATERIALIZED (
    SELECT id FROM (
        SELECT id, sum(weight) OVER (ORDER BY id) - weight AS before FROM free
    ) AS weighed WHERE before < 2000
), steps AS (
    DELETE FROM taskqueue_step WHERE task_id = ANY (ARRAY(SELECT id FROM to_delete)) RETURNING 1
), attempts AS (
    DELETE FROM taskqueue_attempt WHERE task_id = ANY (ARRAY(SELECT id FROM to_delete)) RETURNING 1
), chunks AS (
    DELETE FROM taskqueue_chunk WHERE task_id = ANY (ARRAY(SELECT id FROM to_delete)) RETURNING 1
), waits AS (
    DELETE FROM taskqueue_wait WHERE task_id = ANY (ARRAY(SELECT id FROM to_delete)) RETURNING 1
), keys AS (
    DELETE FROM taskqueue_idempotencykey WHERE task_id = ANY (ARRAY(SELECT id FROM to_delete)) RETURNING 1
), skips AS (
    DELETE FROM taskqueue_skip WHERE task_id = ANY (ARRAY(SELECT id FROM to_delete)) RETURNING 1
), slots AS (
    DELETE FROM taskqueue_stepslot WHERE task_id = ANY (ARRAY(SELECT id FROM to_delete))
), parent_steps AS (
    UPDATE taskqueue_step SET child_id = NULL
    WHERE child_id = ANY (ARRAY(SELECT id FROM to_delete)) AND NOT task_id = ANY (ARRAY(SELECT id FROM to_delete))
), events AS (
    UPDATE taskqueue_event SET source_id = NULL WHERE source_id = ANY (ARRAY(SELECT id FROM to_delete))
), relatives AS (
    UPDATE taskqueue_task task
    SET parent_id = CASE WHEN task.parent_id = ANY (ARRAY(SELECT id FROM to_delete)) THEN NULL ELSE task.parent_id END,
        rerun_of_id = CASE
            WHEN task.rerun_of_id = ANY (ARRAY(SELECT id FROM to_delete)) THEN NULL ELSE task.rerun_of_id
        END
    WHERE task.id = ANY (ARRAY(
        SELECT id FROM taskqueue_task WHERE parent_id = ANY (ARRAY(SELECT id FROM to_delete))
        UNION SELECT id FROM taskqueue_task WHERE rerun_of_id = ANY (ARRAY(SELECT id FROM to_delete))
        EXCEPT SELECT id FROM to_delete
    ))
), deleted AS (
    DELETE FROM taskqueue_task WHERE id = ANY (ARRAY(SELECT id FROM to_delete)) RETURNING 1
)
SELECT (SELECT count(*) FROM deleted),
    (SELECT count(*) FROM deleted) + (SELECT count(*) FROM steps) + (SELECT count(*) FROM attempts)
    + (SELECT count(*) FROM chunks) + (SELECT count(*) FROM waits) + (SELECT count(*) FROM keys)
    + (SELECT count(*) FROM skips),
    CASE WHEN is_full THEN (SELECT id FROM to_delete ORDER BY id DESC LIMIT 1) ELSE {LAST_SCANNED} END,
    NOT is_full AND {ALL_SCANNED}
FROM (
    SELECT count(*) = 100 OR count(*) > (SELECT count(*) FROM to_delete) AS is_full FROM free
) AS batch
"""

# Count what PRUNE_TASKS would delete.
COUNT_PRUNABLE: Final = f"""
WITH {OLDEST_TASKS}
SELECT (
    SELECT count(*) FROM taskqueue_task task
    WHERE task.id = ANY (ARRAY(
        SELECT id FROM scanned WHERE finished_at < statement_timestamp() - %(keep)s::interval
    )) AND {PRUNABLE}
), 0, {LAST_SCANNED}, {ALL_SCANNED}
"""

# Delete a pipeline's old skipped requests.
PRUNE_SKIPS: Final = """
DELETE FROM taskqueue_skip WHERE id = ANY (ARRAY(
    SELECT id FROM taskqueue_skip
    WHERE id = ANY (ARRAY(
        SELECT id FROM taskqueue_skip
        WHERE pipeline_id >= %(pipeline)s::text AND pipeline_id <= %(pipeline)s::text
        ORDER BY pipeline_id DESC, id LIMIT 200
    )) AND created_at < statement_timestamp() - %(keep)s::interval AND kind <> 'deferred'
    FOR UPDATE SKIP LOCKED
))
RETURNING 1
"""

# Give up old deferred starts of pipelines without deployed code: the oldest of each.
GIVE_UP_DEFERRED_STARTS: Final = """
UPDATE taskqueue_skip
SET kind = 'unknown', reason = format(
    'For %%s days no worker knew the pipeline %%s. Has it been removed?', %(days)s::int, left(pipeline_id, 200)
)
WHERE id = ANY (ARRAY(
    SELECT id FROM taskqueue_skip
    WHERE id = ANY (ARRAY(
        SELECT oldest.id FROM taskqueue_pipeline pipeline CROSS JOIN LATERAL (
            SELECT id, created_at FROM taskqueue_skip
            WHERE kind = 'deferred' AND pipeline_id >= pipeline.name AND pipeline_id <= pipeline.name
            ORDER BY pipeline_id, id LIMIT 200
        ) AS oldest
        WHERE created_at < statement_timestamp() - make_interval(days => %(days)s::int) LIMIT 200
    )) AND kind = 'deferred'
    FOR UPDATE SKIP LOCKED
))
RETURNING 1
"""

# Find the age of the oldest unfinished task: one index probe per status.
OLDEST_UNFINISHED: Final = """
SELECT min(oldest.created_at)
FROM unnest(ARRAY['scheduled', 'queued', 'running', 'waiting', 'retrying']) AS live (status)
CROSS JOIN LATERAL (
    SELECT created_at FROM taskqueue_task WHERE status = live.status ORDER BY status DESC, id LIMIT 1
) AS oldest
"""

# Delete old events, but none since the oldest unfinished task was created, which may still wait for it, and none that
# a task, a wait or a skipped request points at.
PRUNE_EVENTS: Final = f"""
WITH scanned AS MATERIALIZED (
    SELECT id, received_at AS created_at FROM taskqueue_event WHERE id > %(after)s::uuid ORDER BY id LIMIT 200
), to_delete AS MATERIALIZED (
    SELECT event.id FROM taskqueue_event event
    WHERE event.id = ANY (ARRAY(SELECT id FROM scanned))
        AND greatest(event.received_at, event.routed_at) < statement_timestamp() - %(keep)s::interval
        AND greatest(event.received_at, event.routed_at)
            < coalesce(%(oldest)s::timestamptz - interval '1 hour', 'infinity')
        AND event.routed_at IS NOT NULL
        AND (event.unique_id = '' OR event.received_at < statement_timestamp() - %(window)s::interval)
        AND NOT EXISTS (SELECT FROM taskqueue_task started WHERE started.event_id = event.id)
        AND NOT EXISTS (SELECT FROM taskqueue_wait resolved WHERE resolved.resolved_by_id = event.id)
        AND NOT EXISTS (SELECT FROM taskqueue_skip skipped WHERE skipped.event_id = event.id)
    FOR UPDATE OF event SKIP LOCKED
), deleted AS (
    DELETE FROM taskqueue_event WHERE id = ANY (ARRAY(SELECT id FROM to_delete)) RETURNING 1
)
SELECT 0, (SELECT count(*) FROM deleted), {LAST_SCANNED}, {ALL_SCANNED}
"""

# Delete idempotency keys that have expired.
PRUNE_KEYS: Final = """
DELETE FROM taskqueue_idempotencykey WHERE id = ANY (ARRAY(
    SELECT id FROM taskqueue_idempotencykey
    WHERE expires_at < statement_timestamp() - interval '1 hour'
    ORDER BY expires_at LIMIT 200
    FOR UPDATE SKIP LOCKED
))
RETURNING 1
"""

# Delete the records of keys whose rate was last used long ago: without a record a rate is unused, too. A task that
# has a time for its start needs its record, however late it is. In the order of the primary key: an index of the
# times would be written at every use.
PRUNE_BUCKETS: Final = f"""
WITH scanned AS MATERIALIZED (
    SELECT id FROM taskqueue_ratelimitbucket WHERE id > %(after)s::bigint ORDER BY id LIMIT 200
), to_delete AS MATERIALIZED (
    SELECT used.id
    FROM taskqueue_ratelimitbucket used JOIN taskqueue_ratelimit rate ON rate.name = used.rate_id
    WHERE used.id = ANY (ARRAY(SELECT id FROM scanned)) AND used.key <> ''
        AND greatest(
            used.theoretical_arrival_at, used.passes_at,
            used.blocked_until + {RATE_SPACING} * (coalesce(rate.burst, rate.declared_burst) - 1)
        ) < statement_timestamp() - interval '1 day'
        AND NOT EXISTS (
            SELECT FROM taskqueue_concurrencylimit concurrency
            JOIN taskqueue_task task ON task.slot_pipeline = concurrency.pipeline_id
                AND task.concurrency_key = used.key
            WHERE concurrency.rate_id = used.rate_id
            OFFSET 0
        )
    FOR UPDATE OF used SKIP LOCKED
), deleted AS (
    DELETE FROM taskqueue_ratelimitbucket WHERE id = ANY (ARRAY(SELECT id FROM to_delete)) RETURNING 1
)
SELECT (SELECT count(*) FROM deleted), (SELECT max(id) FROM scanned), (SELECT count(*) < 200 FROM scanned)
"""
