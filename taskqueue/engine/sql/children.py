"""Child tasks, and the tasks that run the steps of a parallel step (parallel_steps).

Create: `MAKE_BRANCHES`, `BE_CHILD`, `REFUSE_CHILD`. Let the next parallel step run: `BRANCHES_AT_WORK`,
`RELEASE`. Tell the
parent of an end: `UNTOLD`, `LOCK_PARENT`, `LOCK_UNTOLD`, `RESOLVE_PARENT`, `MOVE_ATTEMPTS`, `DISSOLVE`, `TOLD`. Cancel:
`FORSAKEN`, `OVERDUE`, `LOCK_OVERDUE`, `CANCEL_ALL`, `STOPPED`.
"""

from __future__ import annotations

from typing import Final

from taskqueue.engine.sql.rate_limits import UNBOOKED

# Count the unfinished parallel steps of each parallel step, without those that wait until another one ends.
BRANCHES_AT_WORK: Final = """
SELECT parallel_step, count(*) FROM taskqueue_task
WHERE parent_id = %(task)s::uuid AND parallel_step <> '' AND finished_at IS NULL
    AND NOT (status = 'waiting' AND due_at IS NULL AND blocked_on = '')
GROUP BY parallel_step
"""

# Create the parallel steps of parallel steps. They run in their parent's slot.
MAKE_BRANCHES: Final = """
WITH new AS (
    SELECT * FROM unnest(
        %(ids)s::uuid[], %(keys)s::text[], %(payloads)s::text[], %(parallel_steps)s::text[], %(limits)s::int[],
        %(held)s::boolean[]
    ) AS new (id, key, payload, parallel_step, "limit", held)
), step AS (
    UPDATE taskqueue_step step SET child_id = new.id FROM new
    WHERE step.task_id = %(task)s::uuid AND step.key = new.key
)
INSERT INTO taskqueue_task (
    id, pipeline_id, status, key, labels, priority, payload, due_at, sort_at, lease, failures, progress_note,
    created_at, concurrency_key, version, cancel_grace, notify_completion, parent_id, parent_key, parallel_step,
    parallel_limit, depth,
    slot_acquired_at, shares_slot
)
SELECT
    new.id, parent.pipeline_id, CASE WHEN new.held THEN 'waiting' ELSE 'queued' END, parent.key, parent.labels,
    parent.priority, new.payload::jsonb,
    CASE WHEN NOT new.held THEN statement_timestamp() END,
    CASE WHEN NOT new.held THEN statement_timestamp() - make_interval(secs => parent.priority) END, 0, 0, '',
    statement_timestamp(), parent.concurrency_key, parent.version, parent.cancel_grace, true, parent.id, new.key,
    new.parallel_step,
    new."limit", parent.depth, statement_timestamp(), true
FROM new JOIN taskqueue_task parent ON parent.id = %(task)s::uuid
"""

# Record a new child in its parent's step. Below a task of the same pipeline and key it shares that task's slot, else
# the two would wait for each other. Its rate limit still counts: it asks for a time when it is claimed.
BE_CHILD: Final = f"""
WITH RECURSIVE ancestors AS (
    SELECT id, parent_id, pipeline_id, concurrency_key FROM taskqueue_task WHERE id = %(task)s::uuid
    UNION ALL
    -- Only ancestors that hold a slot.
    SELECT task.id, task.parent_id, task.pipeline_id, task.concurrency_key
    FROM ancestors JOIN taskqueue_task task ON task.id = ancestors.parent_id AND task.slot_acquired_at IS NOT NULL
        AND task.finished_at IS NULL
), step AS (
    UPDATE taskqueue_step SET child_id = %(child)s::uuid WHERE task_id = %(task)s::uuid AND key = %(key)s::text
)
UPDATE taskqueue_task child SET shares_slot = true, slot_acquired_at = statement_timestamp(), blocked_on = CASE
    WHEN EXISTS (
        SELECT FROM taskqueue_concurrencylimit concurrency WHERE concurrency.pipeline_id = child.pipeline_id
            AND concurrency.rate_id IS NOT NULL
    ) THEN {UNBOOKED} ELSE ''
END
WHERE child.id = %(child)s::uuid AND EXISTS (
    SELECT FROM ancestors WHERE ancestors.pipeline_id = child.pipeline_id
        AND ancestors.concurrency_key = child.concurrency_key
)
"""

# Fail the step whose child could not be created.
REFUSE_CHILD: Final = """
UPDATE taskqueue_step
SET status = 'failed', error = %(error)s::jsonb, until = NULL,
    finished_at = greatest(statement_timestamp(), started_at)
WHERE task_id = %(task)s::uuid AND key = %(key)s::text AND status = 'waiting'
"""

# Find the unfinished children of a task for which no step waits any more.
FORSAKEN: Final = """
SELECT task.id FROM taskqueue_task task
WHERE task.parent_id = %(task)s::uuid AND task.finished_at IS NULL AND task.parent_key NOT IN (
    SELECT key FROM taskqueue_step WHERE task_id = %(task)s::uuid AND status = 'waiting'
)
ORDER BY task.id
"""

# Cancel tasks, and close their waits. The new lease fences off the workers that run them.
CANCEL_ALL: Final = """
WITH unfinished AS (
    SELECT id, status FROM taskqueue_task
    WHERE id = ANY (%(tasks)s::uuid[]) AND finished_at IS NULL
    ORDER BY id FOR NO KEY UPDATE
), closed AS (
    UPDATE taskqueue_wait SET outcome = 'closed', resolved_at = statement_timestamp()
    WHERE task_id IN (SELECT id FROM unfinished) AND outcome = ''
)
UPDATE taskqueue_task task
SET status = 'cancelled', finished_at = statement_timestamp(), lease = task.lease + 1,
    cancel_reason = %(reason)s::text
FROM unfinished WHERE task.id = unfinished.id
RETURNING task.id, task.parallel_step, task.notify_completion
"""

# Record the attempt of a cancelled task whose process was ended when its grace period was over. Not if the task has
# been retried since: its lease is then another one.
STOPPED: Final = """
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

# Delete tasks with all that is theirs; used for parallel steps whose result their parent has. Foreign keys are
# checked at the
# commit.
DISSOLVE: Final = """
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
    -- An event that a parallel_step sent counts as sent by its parent.
    UPDATE taskqueue_event event SET source_id = task.parent_id FROM taskqueue_task task
    WHERE event.source_id = ANY (%(tasks)s::uuid[]) AND task.id = event.source_id
)
DELETE FROM taskqueue_task WHERE id = ANY (%(tasks)s::uuid[])
"""

# Find ended tasks whose completion is still to be handled, the oldest first, of pipelines that this process has the
# code of.
UNTOLD: Final = """
SELECT id FROM taskqueue_task
WHERE completion_pending_at IS NOT NULL AND pipeline_id = ANY (%(pipelines)s::text[])
ORDER BY completion_pending_at LIMIT 50
"""

# Find tasks whose deadline has passed.
OVERDUE: Final = """
SELECT id FROM taskqueue_task WHERE deadline_at <= statement_timestamp() ORDER BY deadline_at LIMIT 50
"""
# Lock a task whose deadline has still passed.
LOCK_OVERDUE: Final = """
SELECT pipeline_id, started_at IS NOT NULL, finish_within FROM taskqueue_task
WHERE id = %(task)s::uuid AND deadline_at <= statement_timestamp()
FOR NO KEY UPDATE SKIP LOCKED
"""

# Lock a parent before its child: every transaction locks in this order.
LOCK_PARENT: Final = "SELECT id FROM taskqueue_task WHERE id = %(task)s::uuid FOR NO KEY UPDATE"
# Lock a parent unless another transaction has.
LOCK_FREE_PARENT: Final = f"{LOCK_PARENT} SKIP LOCKED"

# Lock an ended task whose completion is still to be handled. Of several processes the first handles it; the others find
# no row.
LOCK_UNTOLD: Final = """
SELECT id FROM taskqueue_task WHERE id = %(task)s::uuid AND completion_pending_at IS NOT NULL FOR NO KEY UPDATE
"""
# The same as LOCK_UNTOLD, unless another transaction has the lock.
LOCK_FREE_UNTOLD: Final = f"{LOCK_UNTOLD} SKIP LOCKED"

# Give a child's result to the step that waits for it, under the locks of both tasks. The size of the parent's outputs
# is counted in its row: summing it up at the end of each of ten thousand parallel steps would read a hundred million
# steps.
# Each suspension sets the count again, so that it cannot drift. The sentence is that of `errors.TooLarge`.
RESOLVE_PARENT: Final = """
WITH size AS MATERIALIZED (
    SELECT task.id, coalesce(octet_length(task.result::text), 0) AS bytes, parent.output_bytes AS used
    FROM taskqueue_task task JOIN taskqueue_task parent ON parent.id = task.parent_id
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
        -- A parallel_step is deleted afterwards: its step takes over its failures, logs and times.
        child_id = CASE WHEN ended.parallel_step = '' THEN step.child_id END, until = NULL,
        failures = CASE WHEN ended.parallel_step = '' THEN step.failures ELSE coalesce((
            SELECT done.failures FROM taskqueue_step done
            WHERE done.task_id = ended.id AND done.key = ended.parent_key
        ), 0) END,
        logs = (
            SELECT done.logs FROM taskqueue_step done
            WHERE ended.parallel_step <> '' AND done.task_id = ended.id AND done.key = ended.parent_key
        ),
        started_at = CASE
            WHEN ended.parallel_step = '' THEN step.started_at ELSE coalesce(ended.started_at, step.started_at)
        END,
        finished_at = greatest(ended.finished_at, step.started_at, ended.started_at)
    FROM taskqueue_task ended JOIN size USING (id)
    WHERE ended.id = %(task)s::uuid AND step.task_id = ended.parent_id AND step.key = ended.parent_key
        AND step.child_id = ended.id AND step.status = 'waiting'
    RETURNING step.id, step.task_id, CASE WHEN step.status = 'succeeded' THEN size.bytes END AS added
), counted AS (
    UPDATE taskqueue_task parent SET output_bytes = parent.output_bytes + resolved.added
    FROM resolved WHERE parent.id = resolved.task_id AND resolved.added IS NOT NULL
)
SELECT id FROM resolved
"""

# Load the payload of a parallel_step's parent.
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
    ) + row_number() OVER (ORDER BY tried.id),
    tried.outcome, tried.error_type, tried.error_message, tried.traceback, tried.logs, tried.worker_id,
    tried.lease, tried.started_at, tried.finished_at
FROM taskqueue_task ended JOIN taskqueue_attempt tried ON tried.task_id = ended.id
WHERE ended.id = %(task)s::uuid
"""

# Queue the next parallel step of a parallel step with a limit, in place of the one that has ended.
RELEASE: Final = """
UPDATE taskqueue_task task
SET status = 'queued', due_at = statement_timestamp(),
    sort_at = statement_timestamp() - make_interval(secs => task.priority)
WHERE task.id = (
    SELECT next.id FROM taskqueue_task next
    JOIN taskqueue_task ended ON ended.id = %(task)s::uuid AND ended.parent_id = next.parent_id
        AND ended.parallel_step = next.parallel_step
    WHERE next.parallel_limit IS NOT NULL AND next.status = 'waiting' AND next.due_at IS NULL AND next.blocked_on = ''
    ORDER BY next.id LIMIT 1
)
RETURNING task.id
"""

# Note that a task's completion has been handled.
TOLD: Final = "UPDATE taskqueue_task SET notify_completion = false WHERE id = %(task)s::uuid"
