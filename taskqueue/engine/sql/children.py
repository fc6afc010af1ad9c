"""Child tasks and parallel steps: create them, handle their completion, cancel them."""

from __future__ import annotations

from typing import Final, LiteralString

from taskqueue.engine.sql.flow_control.rate_limits import NO_RESERVATION
from taskqueue.engine.sql.suspend import has_no_suspension

# Count the unfinished tasks of each parallel step, without those that wait behind its limit.
COUNT_PARALLEL_STEPS: Final = """
SELECT parallel_step, count(*) FROM taskqueue_task
WHERE parent_id = %(task)s::uuid AND parallel_step <> '' AND finished_at IS NULL
    AND NOT (status = 'waiting' AND due_at IS NULL AND blocked_on = '')
GROUP BY parallel_step
"""

# Create the tasks of parallel steps. They run in their parent's slot.
CREATE_PARALLEL_STEPS: Final = """
WITH new AS (
    SELECT * FROM unnest(
        %(ids)s::uuid[], %(keys)s::text[], %(payloads)s::text[], %(parallel_steps)s::text[], %(limits)s::int[],
        %(blocked)s::boolean[], %(step_queues)s::text[]
    ) AS new (id, key, payload, parallel_step, "limit", blocked, step_queue)
), step AS (
    UPDATE taskqueue_step step SET child_id = new.id FROM new
    WHERE step.task_id = %(task)s::uuid AND step.key = new.key
)
INSERT INTO taskqueue_task (
    id, pipeline_id, status, key, labels, priority, payload, due_at, sort_at, lease, failures, progress_note,
    created_at, concurrency_key, version, cancel_grace, notify_completion, parent_id, parent_key, parallel_step,
    parallel_limit, depth,
    slot_acquired_at, shares_slot, step_queue, traceparent
)
SELECT
    new.id, parent.pipeline_id, CASE WHEN new.blocked THEN 'waiting' ELSE 'queued' END, parent.key, parent.labels,
    parent.priority, new.payload::jsonb,
    CASE WHEN NOT new.blocked THEN statement_timestamp() END,
    CASE WHEN NOT new.blocked THEN statement_timestamp() - make_interval(secs => parent.priority) END, 0, 0, '',
    statement_timestamp(), parent.concurrency_key, parent.version, parent.cancel_grace, true, parent.id, new.key,
    new.parallel_step,
    new."limit", parent.depth, statement_timestamp(), true, new.step_queue,
    %(traceparent)s::text
FROM new JOIN taskqueue_task parent ON parent.id = %(task)s::uuid
"""

# Record a new child in its parent's step. Below a task with its own pipeline and key it shares that task's slot, else
# the two would wait for each other. Its rate limit still counts: it asks for a time when it is claimed.
LINK_CHILD: Final = f"""
WITH RECURSIVE ancestors AS (
    SELECT id, parent_id, pipeline_id, concurrency_key FROM taskqueue_task WHERE id = %(task)s::uuid
    UNION ALL
    -- Only ancestors that hold a slot.
    SELECT parent.* FROM ancestors CROSS JOIN LATERAL (
        SELECT task.id, task.parent_id, task.pipeline_id, task.concurrency_key FROM taskqueue_task task
        WHERE task.id = ancestors.parent_id AND task.slot_acquired_at IS NOT NULL AND task.finished_at IS NULL
        OFFSET 0
    ) AS parent
), step AS (
    UPDATE taskqueue_step SET child_id = %(child)s::uuid WHERE task_id = %(task)s::uuid AND key = %(key)s::text
)
UPDATE taskqueue_task child SET shares_slot = true, slot_acquired_at = statement_timestamp(), blocked_on = CASE
    WHEN EXISTS (
        SELECT FROM taskqueue_concurrencylimit concurrency WHERE concurrency.pipeline_id = child.pipeline_id
            AND concurrency.rate_id IS NOT NULL
    ) THEN {NO_RESERVATION} ELSE ''
END
WHERE child.id = %(child)s::uuid AND EXISTS (
    SELECT FROM ancestors WHERE ancestors.pipeline_id = child.pipeline_id
        AND ancestors.concurrency_key = child.concurrency_key
)
"""

# Find the unfinished children for which no step of their parent waits any more.
ORPHANED_CHILDREN: Final = """
SELECT task.id FROM taskqueue_task task
WHERE task.parent_id = %(task)s::uuid AND task.finished_at IS NULL AND task.parent_key NOT IN (
    SELECT key FROM taskqueue_step WHERE task_id = %(task)s::uuid AND status = 'waiting'
)
ORDER BY task.id
"""

# Cancel tasks, and close their waits. The new lease fences off the workers that run them.
CANCEL_TASKS: Final = """
WITH unfinished AS (
    SELECT id, status FROM taskqueue_task
    WHERE id = ANY (%(tasks)s::uuid[]) AND finished_at IS NULL
    ORDER BY id FOR NO KEY UPDATE
), closed AS (
    UPDATE taskqueue_wait SET outcome = 'closed', resolved_at = statement_timestamp()
    WHERE task_id IN (SELECT id FROM unfinished) AND task_id = ANY (%(tasks)s::uuid[])
        AND (outcome = '') IS TRUE
)
UPDATE taskqueue_task task
SET status = 'cancelled', finished_at = statement_timestamp(), lease = task.lease + 1,
    cancel_reason = %(reason)s::text
FROM unfinished WHERE task.id = unfinished.id AND task.id = ANY (%(tasks)s::uuid[])
RETURNING task.id, task.parallel_step, task.notify_completion
"""

# Record the attempt of a cancelled task whose process was ended when its grace period was over. Not if the task has
# been retried since: its lease is then another one.
RECORD_STOPPED_ATTEMPT: Final = """
INSERT INTO taskqueue_attempt (
    task_id, step_key, number, outcome, error_type, error_message, traceback, worker_id, lease, started_at, finished_at
)
SELECT task.id, %(step)s::text,
    (SELECT coalesce(max(number), 0) + 1 FROM taskqueue_attempt
     WHERE task_id = task.id AND step_key = %(step)s::text),
    %(outcome)s::text, 'Cancelled', 'The task was cancelled, and its step had not ended when its grace was over.',
    %(stack)s::text, %(worker)s::int, %(lease)s::int, statement_timestamp() - %(elapsed)s::interval,
    statement_timestamp()
FROM taskqueue_task task
WHERE task.id = %(task)s::uuid AND task.lease = %(lease)s::int + 1 AND task.status = 'cancelled'
FOR NO KEY UPDATE
"""

# Delete tasks and all rows that belong to them: parallel steps whose result their parent has recorded. Foreign keys
# are checked at the commit.
DELETE_TASKS: Final = """
WITH steps AS (
    DELETE FROM taskqueue_step WHERE task_id = ANY (%(tasks)s::uuid[])
), attempts AS (
    DELETE FROM taskqueue_attempt WHERE task_id = ANY (%(tasks)s::uuid[])
), waits AS (
    DELETE FROM taskqueue_wait WHERE task_id = ANY (%(tasks)s::uuid[])
), slots AS (
    DELETE FROM taskqueue_stepslot WHERE task_id = ANY (%(tasks)s::uuid[])
), parent_steps AS (
    UPDATE taskqueue_step SET child_id = NULL WHERE child_id = ANY (%(tasks)s::uuid[])
        AND NOT task_id = ANY (%(tasks)s::uuid[])
), events AS (
    -- An event that a parallel step sent counts as sent by its parent.
    UPDATE taskqueue_event event SET source_id = task.parent_id FROM taskqueue_task task
    WHERE event.source_id = ANY (%(tasks)s::uuid[]) AND task.id = event.source_id AND task.id = ANY (%(tasks)s::uuid[])
)
DELETE FROM taskqueue_task WHERE id = ANY (%(tasks)s::uuid[])
"""

# Find ended tasks whose completion is still to be handled, the oldest first, of pipelines that this process has the
# code of.
PENDING_COMPLETIONS: Final = """
SELECT id FROM taskqueue_task
WHERE completion_pending_at IS NOT NULL AND pipeline_id = ANY (%(pipelines)s::text[])
ORDER BY completion_pending_at LIMIT 50
"""

# Find tasks whose deadline has passed.
OVERDUE_TASKS: Final = """
SELECT id FROM taskqueue_task WHERE deadline_at <= statement_timestamp() ORDER BY deadline_at LIMIT 50
"""
# Lock a task whose deadline has still passed.
LOCK_OVERDUE_TASK: Final = """
SELECT pipeline_id, started_at IS NOT NULL, finish_within FROM taskqueue_task
WHERE id = %(task)s::uuid AND deadline_at <= statement_timestamp()
FOR NO KEY UPDATE SKIP LOCKED
"""

# Parallel steps that pass their slot on count up to this part of TASK_OUTPUT_MAX_BYTES with it, not in the parent.
COUNTED_WITH_SLOT: Final = "16"

# Lock a parent before its child: every transaction locks in this order.
LOCK_PARENT: Final = "SELECT id FROM taskqueue_task WHERE id = %(task)s::uuid FOR NO KEY UPDATE"
# Lock a parent unless another transaction has.
TRY_LOCK_PARENT: Final = f"{LOCK_PARENT} SKIP LOCKED"

# Lock an ended task whose completion is still to be handled. Of several processes the first handles it; the others
# find no row.
LOCK_PENDING_COMPLETION: Final = """
SELECT id, callback_url <> '' OR EXISTS (SELECT FROM taskqueue_subscription WHERE disabled_at IS NULL)
FROM taskqueue_task
WHERE id = %(task)s::uuid AND completion_pending_at IS NOT NULL FOR NO KEY UPDATE
"""
# Lock a pending completion unless another transaction has.
TRY_LOCK_PENDING_COMPLETION: Final = f"{LOCK_PENDING_COMPLETION} SKIP LOCKED"

# Give a child's result to the step that waits for it, under the locks of both tasks. The size of the parent's outputs
# is counted in its row: summing it up at the end of each of ten thousand parallel steps would read a hundred million
# steps. Each suspension sets the count again, so that it cannot drift. What a slot of a limit has counted is added when
# the slot is not passed on; near the limit, what the other slots have counted is added up. The sentence is that of
# `errors.TooLarge`.
RESOLVED: Final = """size AS MATERIALIZED (
    SELECT result.bytes, carried.bytes AS carried, parent.output_bytes + carried.bytes + CASE
        WHEN task.parallel_limit IS NOT NULL AND parent.output_bytes + carried.bytes + result.bytes
                > %(limit)s::bigint - %(limit)s::bigint / <share>
            THEN (
                SELECT sum(sibling.output_bytes) FROM taskqueue_task sibling
                WHERE sibling.parent_id >= %(parent)s::uuid AND sibling.parent_id <= %(parent)s::uuid
            ) - task.output_bytes
        ELSE 0
    END AS used
    FROM taskqueue_task task
    CROSS JOIN LATERAL (SELECT coalesce(octet_length(task.result::text), 0) AS bytes) AS result
    CROSS JOIN LATERAL (
        SELECT CASE WHEN task.parallel_step = '' THEN 0 ELSE task.output_bytes END AS bytes
    ) AS carried
    JOIN taskqueue_task parent ON parent.id = %(parent)s::uuid
    WHERE task.id = %(task)s::uuid
), resolved AS (
    UPDATE taskqueue_step step
    SET status = CASE WHEN ended.status = 'succeeded' AND used + bytes <= %(limit)s::bigint
            THEN 'succeeded' ELSE 'failed' END,
        output = CASE WHEN ended.status = 'succeeded' AND used + bytes <= %(limit)s::bigint THEN ended.result END,
        error = CASE
            WHEN ended.status = 'succeeded' AND used + bytes <= %(limit)s::bigint THEN NULL
            WHEN ended.status = 'succeeded' THEN jsonb_build_object('type', 'TooLarge', 'message', format(
                'The sum of this task''s outputs, with that of step ''%%s'', is %%s bytes; the limit is %%s '
                    '(setting TASK_OUTPUT_MAX_BYTES).',
                step.key, to_char(used + bytes, 'FM999,999,999,999,999'),
                to_char(%(limit)s::bigint, 'FM999,999,999,999,999')
            ))
            WHEN ended.parallel_step <> '' AND ended.error IS NOT NULL THEN jsonb_build_object(
                'type', ended.error ->> 'type', 'message', ended.error ->> 'message'
            )
            WHEN ended.status = 'cancelled' THEN jsonb_build_object(
                'type', 'ChildCancelled',
                'message', format('Child task %%s was cancelled. %%s', ended.id, ended.cancel_reason)
            )
            ELSE jsonb_build_object(
                'type', ended.error ->> 'type',
                'message', format('Child task %%s failed: %%s', ended.id, ended.error ->> 'message')
            )
        END,
        -- The task of a parallel step is deleted afterwards: its step takes over its failures, logs and times.
        child_id = CASE WHEN ended.parallel_step = '' THEN step.child_id END, until = NULL,
        failures = CASE WHEN ended.parallel_step = '' THEN step.failures ELSE coalesce((
            SELECT own_step.failures FROM taskqueue_step own_step
            WHERE own_step.task_id = ended.id AND own_step.key = ended.parent_key
        ), 0) END,
        logs = (
            SELECT own_step.logs FROM taskqueue_step own_step
            WHERE ended.parallel_step <> '' AND own_step.task_id = ended.id AND own_step.key = ended.parent_key
        ),
        started_at = CASE
            WHEN ended.parallel_step = '' THEN step.started_at ELSE coalesce(ended.started_at, step.started_at)
        END,
        finished_at = greatest(ended.finished_at, step.started_at, ended.started_at)
    FROM taskqueue_task ended CROSS JOIN size
    WHERE ended.id = %(task)s::uuid AND step.task_id = %(parent)s::uuid AND step.child_id = %(task)s::uuid
        -- A subquery, so that the index finds the step by its key too: a plan that was made while the table was small
        -- could read all steps of the parent to join them.
        AND step.key = (SELECT child.parent_key FROM taskqueue_task child WHERE child.id = %(task)s::uuid)
        AND step.status = 'waiting'
    RETURNING step.id, nullif(CASE WHEN step.status = 'succeeded' THEN size.bytes ELSE 0 END + size.carried, 0) AS added
)""".replace("<share>", COUNTED_WITH_SLOT)

# Give a child's result to the step that waits for it.
RESOLVE_PARENT: Final = f"""
WITH {RESOLVED}, counted AS (
    UPDATE taskqueue_task parent SET output_bytes = parent.output_bytes + resolved.added
    FROM resolved WHERE parent.id = %(parent)s::uuid AND resolved.added IS NOT NULL
)
SELECT id FROM resolved
"""

# Load the payload of a parallel step's parent.
LOAD_PARENT: Final = "SELECT payload::text FROM taskqueue_task WHERE id = %(parent)s::uuid"

# Copy the attempts of an ended parallel step to its parent's step.
MOVE_ATTEMPTS: Final = """
INSERT INTO taskqueue_attempt (
    task_id, step_key, number, outcome, error_type, error_message, traceback, logs, worker_id, lease, started_at,
    finished_at
)
SELECT ended.parent_id, ended.parent_key,
    (
        SELECT coalesce(max(number), 0) FROM taskqueue_attempt
        WHERE task_id = ended.parent_id AND step_key = ended.parent_key
    ) + row_number() OVER (ORDER BY attempt.id),
    attempt.outcome, attempt.error_type, attempt.error_message, attempt.traceback, attempt.logs, attempt.worker_id,
    attempt.lease, attempt.started_at, attempt.finished_at
FROM taskqueue_task ended JOIN taskqueue_attempt attempt ON attempt.task_id = ended.id
WHERE ended.id = %(task)s::uuid
"""

# Whether other rows belong to an ended parallel step than the one of its step, such as failed attempts. The ranges and
# orders leave the planner no index but the one that begins with that column.
HAS_MORE_ROWS: Final = """coalesce(
    (SELECT true FROM taskqueue_attempt WHERE task_id >= %(task)s::uuid AND task_id <= %(task)s::uuid
        ORDER BY task_id, step_key LIMIT 1),
    (SELECT true FROM taskqueue_stepslot WHERE task_id >= %(task)s::uuid AND task_id <= %(task)s::uuid
        ORDER BY task_id, step_key LIMIT 1),
    (SELECT true FROM taskqueue_event WHERE source_id >= %(task)s::uuid AND source_id <= %(task)s::uuid
        ORDER BY source_id LIMIT 1),
    (SELECT true FROM taskqueue_step WHERE task_id >= %(task)s::uuid AND task_id <= %(task)s::uuid
        AND key <> (SELECT parent_key FROM ended) ORDER BY task_id, key LIMIT 1),
    false
)"""

# The parallel steps that wait for a slot of the same limit, in a statement with `ended`.
WAITING_FOR_SLOT: Final = """taskqueue_task sibling
    WHERE sibling.parent_id >= %(parent)s::uuid AND sibling.parent_id <= %(parent)s::uuid
        AND CASE WHEN sibling.status = 'waiting' THEN sibling.parallel_step = (SELECT parallel_step FROM ended)
            AND sibling.parallel_limit IS NOT NULL AND sibling.due_at IS NULL AND sibling.blocked_on = '' END"""

# Give the result of an ended parallel step to its parent's step, queue the next one of its limit, queue the parent if
# this was its last suspension, and delete the ended task unless more rows belong to it. Under the locks of both tasks,
# in a statement after the one that waited for them, to see what the other parallel steps have committed. Returns
# whether it queued a task, and whether it has deleted the ended one.
COMPLETE_PARALLEL_STEP: Final = f"""
WITH ended AS MATERIALIZED (
    SELECT parent_key, parallel_step, parallel_limit FROM taskqueue_task WHERE id = %(task)s::uuid
), {RESOLVED}, next AS MATERIALIZED (
    -- The tasks behind the limit have the highest ids: only the few that it allows are read before. Plain conditions
    -- on the parent and the status would lead the planner, without statistics, to other indexes or to a sort.
    -- An end that passes its slot on may have locked one for itself: then the one after it is next.
    SELECT sibling.id FROM {WAITING_FOR_SLOT}
        AND (SELECT parallel_limit FROM ended) IS NOT NULL
    ORDER BY sibling.parent_id, sibling.id LIMIT 1
    FOR NO KEY UPDATE
), changed AS MATERIALIZED (
    SELECT id, true AS is_queued, 0 AS added FROM next
    UNION ALL
    SELECT task.id, task.status = 'waiting' AND {has_no_suspension(but="resolved.id")}, coalesce(resolved.added, 0)
    FROM resolved JOIN taskqueue_task task ON task.id = %(parent)s::uuid
), updated AS (
    -- One update of both: each one reads the table's constraints first.
    UPDATE taskqueue_task task
    SET output_bytes = task.output_bytes + changed.added,
        status = CASE WHEN is_queued THEN 'queued' ELSE task.status END,
        blocked_on = CASE WHEN is_queued THEN '' ELSE task.blocked_on END,
        due_at = CASE WHEN is_queued THEN statement_timestamp() ELSE task.due_at END,
        sort_at = CASE WHEN is_queued THEN statement_timestamp() - make_interval(secs => task.priority)
            ELSE task.sort_at END
    FROM changed
    WHERE task.id = changed.id AND task.id = ANY (ARRAY(SELECT id FROM changed)) AND (is_queued OR added > 0)
    RETURNING changed.is_queued
), deleted_step AS (
    DELETE FROM taskqueue_step WHERE task_id = %(task)s::uuid AND key = (SELECT parent_key FROM ended)
), deleted AS (
    DELETE FROM taskqueue_task
    WHERE id = %(task)s::uuid AND EXISTS (SELECT FROM resolved) AND NOT {HAS_MORE_ROWS}
    RETURNING id
)
SELECT EXISTS (SELECT FROM updated WHERE is_queued),
    EXISTS (SELECT FROM deleted)
"""


def end_parallel_step(settling: LiteralString) -> LiteralString:
    """End a parallel step under the lock of its parent, which every transaction takes before that of a child."""
    is_locked = "(SELECT count(*) FROM parent) = 1"
    settling = settling.replace("WHERE id = %(task)s::uuid", f"WHERE {is_locked} AND id = %(task)s::uuid", 1)
    return f"""
WITH parent AS MATERIALIZED (
    SELECT id FROM taskqueue_task WHERE id = %(parent)s::uuid FOR NO KEY UPDATE
), {settling}
SELECT id FROM settled
"""


# Record that a task's completion has been handled.
MARK_COMPLETION_HANDLED: Final = "UPDATE taskqueue_task SET notify_completion = false WHERE id = %(task)s::uuid"
