"""The end of a parallel step with a `limit=`, which passes its slot on to the next one without the lock of the parent.

The parent's lock is there for the last parallel step, which queues the parent. A parallel step that has passed its slot
on is not the last one. Nothing here waits for a lock: if another transaction has one of the rows, or no parallel step
waits for the slot, the statement changes nothing, and the step is ended under the lock (`children.end_parallel_step`).
"""

from __future__ import annotations

from typing import Final

from taskqueue.engine.sql.children import COUNTED_WITH_SLOT, HAS_MORE_ROWS, WAITING_FOR_SLOT
from taskqueue.engine.sql.claims import CLAIM, CLAIMED_COLUMNS
from taskqueue.engine.sql.queues import LIMITS_STEPS, LIMITS_TASKS, PIPELINE_QUEUE, is_taken, rank

# Lock the ended task, its parent's step and the next task, and record the result. The first lock may be waited for,
# since no other is held then: two ends may reach for the same next task, and the one that comes second keeps its lock
# until it has committed, while that task is executed and ends. The size of the results is counted in the next task: a
# small share of the limit, and not when the parent's own count comes near it.
END_AND_PASS_SLOT: Final = f"""ended AS MATERIALIZED (
    SELECT parent_key, parallel_step, parallel_limit, started_at,
        output_bytes + octet_length((%(result)s::jsonb)::text) AS output_bytes
    FROM taskqueue_task
    WHERE id = %(task)s::uuid AND worker_id = %(worker)s::int AND lease = %(lease)s::int AND status = 'running'
        AND parallel_limit IS NOT NULL
    FOR UPDATE
), recording AS MATERIALIZED (
    SELECT step.id FROM taskqueue_step step
    WHERE step.task_id = %(parent)s::uuid AND step.key = (SELECT parent_key FROM ended)
        AND step.child_id = %(task)s::uuid AND step.status = 'waiting'
        AND (SELECT output_bytes <= %(limit)s::bigint / {COUNTED_WITH_SLOT} / parallel_limit FROM ended)
        AND (
            SELECT parent.output_bytes <= %(limit)s::bigint - %(limit)s::bigint / {COUNTED_WITH_SLOT}
            FROM taskqueue_task parent WHERE parent.id = %(parent)s::uuid
        )
        AND NOT {HAS_MORE_ROWS}
    FOR NO KEY UPDATE SKIP LOCKED
), next AS MATERIALIZED (
    SELECT sibling.id, sibling.pipeline_id, sibling.step_queue, sibling.priority FROM {WAITING_FOR_SLOT}
        AND EXISTS (SELECT FROM recording)
    ORDER BY sibling.parent_id, sibling.id LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
), own_step AS (
    -- It has one unless it ends with the call of its step.
    DELETE FROM taskqueue_step WHERE task_id = %(task)s::uuid
        AND key = (SELECT parent_key FROM ended) AND EXISTS (SELECT FROM next)
    RETURNING failures, logs
), resolved AS (
    UPDATE taskqueue_step step
    SET status = 'succeeded', output = %(result)s::jsonb, error = NULL, child_id = NULL, until = NULL,
        failures = coalesce((SELECT failures FROM own_step), 0),
        logs = coalesce(%(logs)s::jsonb, (SELECT logs FROM own_step)),
        started_at = coalesce((SELECT started_at FROM ended), step.started_at),
        finished_at = greatest(statement_timestamp(), step.started_at)
    WHERE step.id = (SELECT id FROM recording) AND EXISTS (SELECT FROM next)
), settled AS (
    DELETE FROM taskqueue_task
    WHERE id = %(task)s::uuid AND EXISTS (SELECT FROM next)
    RETURNING id
)"""

# The next task as one that can be claimed, if this process takes it: the last one of its age. Its `ready_queue`, which
# is empty, stands for no queue.
PASSED_SLOT: Final = f"""passed_slot AS MATERIALIZED (
    SELECT ''::text AS ready_queue, code.fingerprint, {LIMITS_TASKS} AS is_limited, {LIMITS_STEPS} AS has_step_limit,
        false AS passes_slot, statement_timestamp() - make_interval(secs => next.priority) AS sort_at,
        queue.name AS from_queue, {rank("queue.name")} AS queue_rank, {PIPELINE_QUEUE} AS pipeline_queue
    FROM next
    JOIN unnest(%(pipelines)s::text[], %(codes)s::text[]) AS code (name, fingerprint)
        ON code.name = next.pipeline_id COLLATE "C"
    JOIN taskqueue_pipeline pipeline ON pipeline.name = next.pipeline_id AND pipeline.paused_at IS NULL
    LEFT JOIN taskqueue_concurrencylimit concurrency ON concurrency.pipeline_id = pipeline.name
    CROSS JOIN LATERAL (SELECT coalesce(nullif(next.step_queue, ''), {PIPELINE_QUEUE}) AS name) AS queue
    WHERE {is_taken("queue.name")}
)"""

# Queue the next task, unless it was claimed.
QUEUED_NEXT: Final = """queued AS (
    UPDATE taskqueue_task task
    SET status = 'queued', due_at = statement_timestamp(),
        sort_at = statement_timestamp() - make_interval(secs => task.priority),
        output_bytes = (SELECT output_bytes FROM ended)
    WHERE task.id = (SELECT id FROM next)<unclaimed>
    RETURNING task.id
)"""

# End a parallel step, and queue the next one of its limit. Returns a row if that is done.
PASS_PARALLEL_SLOT: Final = f"""
WITH {END_AND_PASS_SLOT}, {QUEUED_NEXT.replace("<unclaimed>", "")}
SELECT id FROM settled
"""

# End a parallel step, and claim the next one of its limit before all other tasks; queue it if this worker does not take
# it or is draining. The last column of the one row: whether that is done.
PASS_PARALLEL_SLOT_AND_CONTINUE: Final = f"""
WITH {END_AND_PASS_SLOT}, {PASSED_SLOT}, continued AS (
    UPDATE taskqueue_task task
    SET status = CASE WHEN is_taken THEN 'running' ELSE 'queued' END,
        worker_id = CASE WHEN is_taken THEN %(claiming_worker)s::int ELSE task.worker_id END,
        lease = task.lease + is_taken::int,
        started_at = CASE WHEN is_taken THEN coalesce(task.started_at, statement_timestamp()) ELSE task.started_at END,
        due_at = statement_timestamp(), sort_at = statement_timestamp() - make_interval(secs => task.priority),
        output_bytes = (SELECT output_bytes FROM ended),
        code_began = CASE
            WHEN task.code_began <> '' OR NOT is_taken THEN task.code_began
            ELSE coalesce(%(kept)s::jsonb #>> ARRAY[task.pipeline_id, task.version], passed_slot.fingerprint)
        END
    FROM (SELECT) AS one LEFT JOIN passed_slot ON NOT EXISTS (
        SELECT FROM taskqueue_worker WHERE id = %(claiming_worker)s::int AND draining_at IS NOT NULL
    ) CROSS JOIN LATERAL (SELECT passed_slot.from_queue IS NOT NULL AS is_taken) AS taken
    WHERE task.id = (SELECT id FROM next)
    RETURNING {CLAIMED_COLUMNS.replace("next_task.", "passed_slot.")}
)
SELECT continued.*, EXISTS (SELECT FROM settled) AS has_ended
FROM (SELECT) AS one LEFT JOIN continued ON continued.from_queue IS NOT NULL
"""

CLAIMED_NEXT: Final = """due_at = coalesce(task.due_at, statement_timestamp()),
        sort_at = coalesce(task.sort_at, statement_timestamp() - make_interval(secs => task.priority)),
        output_bytes = CASE WHEN task.id = (SELECT id FROM next) THEN (SELECT output_bytes FROM ended)
            ELSE task.output_bytes END,
        code_began = CASE"""

# End a parallel step, and claim the next tasks: with the next one of its limit, unless it is younger than those that
# are claimed. Then it is queued. The last three columns of each row: whether that is done, whether the next one was
# queued, and the pipeline to admit a task of.
PASS_PARALLEL_SLOT_AND_CLAIM: Final = (
    CLAIM.replace("WITH", f"WITH {END_AND_PASS_SLOT}, {PASSED_SLOT},", 1)
    .replace("SELECT * FROM step_queue_heads", "SELECT * FROM step_queue_heads UNION ALL SELECT * FROM passed_slot", 1)
    .replace(
        "NOT EXISTS (SELECT FROM to_admit)", "EXISTS (SELECT FROM settled) AND NOT EXISTS (SELECT FROM to_admit)", 1
    )
    .replace(
        "            SELECT queue.id, queue.sort_at FROM taskqueue_task queue\n            WHERE",
        "            SELECT next.id, oldest.sort_at FROM next WHERE oldest.ready_queue = ''\n            UNION ALL\n"
        "            SELECT * FROM (SELECT queue.id, queue.sort_at FROM taskqueue_task queue\n            WHERE",
        1,
    )
    .replace("SKIP LOCKED\n        ) AS ready", "SKIP LOCKED) AS head\n        ) AS ready", 1)
    .replace("code_began = CASE", CLAIMED_NEXT, 1)
    .replace(
        ")\nSELECT claimed.*,",
        f"), {QUEUED_NEXT.replace('<unclaimed>', ' AND NOT EXISTS (SELECT FROM claimed WHERE claimed.id = task.id)')}\n"
        "SELECT claimed.*, EXISTS (SELECT FROM settled) AS has_ended, EXISTS (SELECT FROM queued) AS is_queued,",
        1,
    )
)
