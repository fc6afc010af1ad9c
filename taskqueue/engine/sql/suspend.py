"""Suspend a task: it waits for a time, an event or other tasks, without a worker."""

from __future__ import annotations

from typing import Final, LiteralString

from taskqueue.engine.sql.journal import LEASED

# Lock the task under its lease: recovery, cancel, and what it waits for come after this transaction.
LOCK_LEASED_TASK: Final = f"WITH {LEASED} SELECT id FROM leased"

# Record the suspensions of a task, one step each. Returns the new ones, whose waits and children are still to be
# created. A plain step that is to be retried may be a suspension in the deployed code: it becomes one.
RECORD_SUSPENSIONS: Final = """
INSERT INTO taskqueue_step AS existing (
    task_id, key, name, kind, status, failures, input, input_hash, until, child_id, started_at, finished_at
)
SELECT
    %(task)s::uuid, suspension.key, suspension.name, suspension.kind, 'waiting', 0,
    suspension.input::jsonb, suspension.input_hash,
    coalesce(suspension.until, statement_timestamp() + suspension.delay), NULL,
    statement_timestamp(), statement_timestamp()
FROM unnest(
    %(keys)s::text[], %(names)s::text[], %(kinds)s::text[], %(inputs)s::text[], %(input_hashes)s::text[],
    %(untils)s::timestamptz[], %(delays)s::interval[]
) WITH ORDINALITY AS suspension (key, name, kind, input, input_hash, until, delay, position)
ORDER BY suspension.position
ON CONFLICT (task_id, key) DO UPDATE
SET name = EXCLUDED.name, kind = EXCLUDED.kind, status = 'waiting', input = EXCLUDED.input,
    input_hash = EXCLUDED.input_hash, error = NULL, until = EXCLUDED.until, started_at = EXCLUDED.started_at,
    finished_at = EXCLUDED.finished_at
WHERE existing.kind = 'step' AND existing.status IN ('retrying', 'waiting')
RETURNING key
"""

# Suspend a running task, and delete the suspensions that its body no longer asks for. It is queued at once if all of
# them are resolved, or one has timed out.
SUSPEND: Final = """
WITH dropped AS (
    DELETE FROM taskqueue_step
    WHERE task_id = %(task)s::uuid AND status = 'waiting' AND kind <> 'step'
        AND key NOT IN (SELECT unnest(%(keys)s::text[]))
    RETURNING key
), waits AS (
    DELETE FROM taskqueue_wait WHERE task_id = %(task)s::uuid AND step_key IN (SELECT key FROM dropped)
), state AS (
    SELECT count(*) = 0 OR coalesce(min(until) <= statement_timestamp(), false) AS is_over, min(until) AS until
    FROM taskqueue_step
    WHERE task_id = %(task)s::uuid AND status = 'waiting' AND key IN (SELECT unnest(%(keys)s::text[]))
)
UPDATE taskqueue_task task
SET status = CASE WHEN state.is_over THEN 'queued' ELSE 'waiting' END, blocked_on = '',
    output_bytes = %(output_bytes)s::bigint,
    due_at = CASE WHEN state.is_over THEN statement_timestamp() ELSE state.until END,
    sort_at = CASE WHEN state.is_over THEN statement_timestamp() ELSE state.until END
        - make_interval(secs => task.priority)
FROM state
WHERE task.id = %(task)s::uuid AND task.status = 'running'
RETURNING task.status
"""


def has_no_suspension(*, but: LiteralString = "NULL") -> LiteralString:
    """Whether no step of `task` waits any more, but the one with this id.

    A waiting step is looked for by its unfinished child first, the newest one: of ten thousand steps, the index of
    steps would first read all those that have ended. An equal parent would let the planner choose the index of ids,
    which is in that order too, but has all tasks.
    """
    return f"""CASE WHEN (
    SELECT true FROM taskqueue_task child
    WHERE child.parent_id >= task.id AND child.parent_id <= task.id AND CASE WHEN child.finished_at IS NULL THEN (
        SELECT step.status = 'waiting' AND step.child_id = child.id FROM taskqueue_step step
        WHERE step.task_id = task.id AND step.key = child.parent_key
    ) END
    ORDER BY child.parent_id DESC, child.id DESC LIMIT 1
) THEN false ELSE NOT EXISTS (
    SELECT FROM taskqueue_step step
    WHERE step.task_id = task.id AND step.status = 'waiting' AND step.kind <> 'step' AND step.id IS DISTINCT FROM {but}
) END"""


# Queue a suspended task when all its suspensions are resolved. Run by the transaction that resolved the last one,
# under the task's lock. IS TRUE, so that no plan reads all waiting tasks by the index of statuses.
QUEUE_SUSPENDED: Final = f"""
UPDATE taskqueue_task task
SET status = 'queued', blocked_on = '', due_at = statement_timestamp(),
    sort_at = statement_timestamp() - make_interval(secs => task.priority)
WHERE task.id = %(task)s::uuid AND (task.status = 'waiting') IS TRUE AND {has_no_suspension()}
RETURNING task.id
"""
# Queue suspended tasks, as QUEUE_SUSPENDED does for one.
QUEUE_ALL_SUSPENDED: Final = QUEUE_SUSPENDED.replace("task.id = %(task)s::uuid", "task.id = ANY (%(tasks)s::uuid[])")

# Time out the overdue suspensions of a task that is about to run. A transaction that resolves one at this moment has
# the row's lock, and this statement then finds it resolved. Steps that wait for a rate limit are not changed.
TIME_OUT_SUSPENSIONS: Final = """
WITH timed_out AS (
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
    WHERE task_id = %(task)s::uuid AND outcome = '' AND step_key IN (SELECT key FROM timed_out)
)
SELECT key, kind, child_id FROM timed_out
"""
