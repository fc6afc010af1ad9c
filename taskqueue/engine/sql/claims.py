"""Claim the next tasks, alone (`CLAIM`) or in the statement that ends the task before (`with_claim`).

If a blocked task of a limited pipeline could be admitted and comes first, nothing is claimed, and the claim returns
that pipeline: its limits have to be locked by a statement of their own. Hence the parts from `flow_control.admission`.
The end of a limited task passes its slot on without that lock (`limited_claims`).
"""

from __future__ import annotations

from typing import Final, LiteralString

from taskqueue.engine.sql.flow_control.admission import ACTIVE_PIPELINES, ADMISSIBLE
from taskqueue.engine.sql.queues import STEP_QUEUE_HEADS
from taskqueue.engine.sql.subscriptions import IS_SUBSCRIBED

# The queues that can be claimed from. `ready_queue` is the pipeline's name for tasks that have a slot or need none, and
# the name with a + for tasks that have not started, which are claimable only without a limit. Tasks in the queue of a
# step have another one.
CLAIMABLE_QUEUES: Final = f"""{ACTIVE_PIPELINES}, {STEP_QUEUE_HEADS}, claimable AS MATERIALIZED (
    SELECT name AS ready_queue, fingerprint, is_limited, has_step_limit, passes_slot, ready_at AS sort_at,
        pipeline_queue AS from_queue, queue_rank, pipeline_queue FROM active WHERE ready_at IS NOT NULL
    UNION ALL
    SELECT name || '+', fingerprint, is_limited, has_step_limit, passes_slot, unstarted_at, pipeline_queue, queue_rank,
        pipeline_queue FROM active WHERE unstarted_at IS NOT NULL AND NOT is_limited
    UNION ALL
    SELECT * FROM step_queue_heads
), {ADMISSIBLE}"""

# What a claim returns of each task: the columns of `lease.COLUMNS`, and its position.
CLAIMED_COLUMNS: Final = f"""task.id, task.pipeline_id, task.lease, task.payload::text, task.labels::text, task.key,
        task.failures, task.version, task.parallel_step, task.depth,
        task.notify_completion OR {IS_SUBSCRIBED} AS notify_completion, task.concurrency_key,
        next_task.is_limited, next_task.has_step_limit, next_task.passes_slot,
        CASE WHEN task.parallel_step = '' THEN task.cron_at ELSE (
            SELECT parent.cron_at FROM taskqueue_task parent WHERE parent.id = task.parent_id
        ) END AS cron_at,
        task.parent_id, task.parent_key, task.cancel_grace, next_task.from_queue, next_task.pipeline_queue,
        task.parallel_limit, task.traceparent, next_task.queue_rank, task.sort_at"""

# Lock the first tasks of the queue with the oldest head, with strict order within the first queue that has any. The
# nested loop stops at its last row, so no other task is locked, and neither history nor another pipeline's backlog is
# read. The limits, and the ids as an array, are for the planner. It takes an unknown limit, which `(SELECT 100)` is,
# for a tenth of the rows: so it reads a queue in its order, even without statistics, when it takes all queues for
# short. Of an unknown number of claimed tasks it would read the whole table to find them.
NEXT_TASKS: Final = f"""{CLAIMABLE_QUEUES}, draining AS MATERIALIZED (
    -- A draining worker claims nothing. Read here, so that it counts from the next claim on.
    SELECT FROM taskqueue_worker WHERE id = %(claiming_worker)s::int AND draining_at IS NOT NULL
), to_admit AS MATERIALIZED (
    -- A blocked task would come first: nothing is claimed, since another statement has to lock its limits before.
    SELECT admissible.name FROM admissible
    WHERE ((admissible.queue_rank, admissible.sort_at) < (
            SELECT claimable.queue_rank, claimable.sort_at FROM claimable
            ORDER BY claimable.queue_rank, claimable.sort_at LIMIT 1
        )) IS NOT FALSE AND NOT EXISTS (SELECT FROM draining)
    ORDER BY admissible.queue_rank, admissible.sort_at LIMIT 1
), next_task AS MATERIALIZED (
    SELECT * FROM (
        SELECT ready.id, ready.sort_at, oldest.fingerprint, oldest.is_limited, oldest.has_step_limit,
            oldest.passes_slot, oldest.from_queue, oldest.queue_rank, oldest.pipeline_queue
        FROM (
            SELECT claimable.* FROM claimable
            WHERE NOT EXISTS (SELECT FROM to_admit) AND NOT EXISTS (SELECT FROM draining)
            ORDER BY claimable.queue_rank, claimable.sort_at
        ) AS oldest
        CROSS JOIN LATERAL (
            SELECT queue.id, queue.sort_at FROM taskqueue_task queue
            WHERE queue.ready_queue = oldest.ready_queue
            ORDER BY queue.sort_at, queue.id
            LIMIT (SELECT 100)
            FOR NO KEY UPDATE SKIP LOCKED
        ) AS ready
        LIMIT %(most)s::int
    ) AS first LIMIT 100
), claimed AS (
    UPDATE taskqueue_task task
    SET status = 'running', worker_id = %(claiming_worker)s::int, lease = task.lease + 1,
        started_at = coalesce(task.started_at, statement_timestamp()),
        slot_acquired_at = coalesce(task.slot_acquired_at, statement_timestamp()),
        finish_by = coalesce(task.finish_by, statement_timestamp() + task.finish_within),
        code_began = CASE
            WHEN task.code_began <> '' THEN task.code_began
            ELSE coalesce(%(kept)s::jsonb #>> ARRAY[task.pipeline_id, task.version], next_task.fingerprint)
        END
    FROM next_task
    WHERE task.id = next_task.id AND task.id = ANY (ARRAY(SELECT id FROM next_task))
        -- A task that was claimed before comes alone or first: if it kills its worker, others are lost once at most.
        AND (task.lease = 0 OR task.id = (SELECT id FROM next_task ORDER BY queue_rank, sort_at, id LIMIT 1))
    RETURNING {CLAIMED_COLUMNS}
)"""

# Claim the next tasks. When a blocked task would come first, one row with nothing but the pipeline to admit from.
CLAIM: Final = f"""
WITH {NEXT_TASKS}
SELECT claimed.*, (SELECT name FROM to_admit) AS to_admit
FROM (SELECT) AS one LEFT JOIN claimed ON true
ORDER BY claimed.queue_rank, claimed.sort_at, claimed.id
"""


def with_claim(settling: LiteralString) -> LiteralString:
    """End a task and claim the next ones."""
    return CLAIM.replace("WITH", f"WITH {settling},", 1)
