"""`CLAIM`: find the next tasks and claim them. `and_claim` does it together with the end of the task before.

A claim also decides whether a blocked task would come first, hence its parts from `admission`.
"""

from __future__ import annotations

from typing import Final, LiteralString

from taskqueue.engine.sql.admission import KNOWN, OPENINGS

# The queues that can be claimed from: of tasks that have a slot, and without a limit also of those that have not
# started.
HEADS: Final = f"""{KNOWN}, heads AS MATERIALIZED (
    SELECT name AS ready_queue, fingerprint, is_limited, stepped, going_at AS sort_at FROM known
        WHERE going_at IS NOT NULL
    UNION ALL
    SELECT name || '+', fingerprint, is_limited, stepped, fresh_at FROM known WHERE fresh_at IS NOT NULL
        AND NOT is_limited
), {OPENINGS}"""

# The first tasks of the queue with the oldest head are locked. The nested loop stops at its last row, so nothing else
# is locked, and neither history nor another pipeline's backlog costs anything. The limits of 100, and the ids as an
# array, are for the planner: it takes an unknown limit for a tenth of the table, and would read all of it to find the
# claimed tasks.
NEXT: Final = f"""{HEADS}, drained AS MATERIALIZED (
    -- A draining worker takes nothing. Asked here, so that it holds from the next claim on.
    SELECT FROM taskqueue_worker WHERE id = %(claimant)s::int AND draining_at IS NOT NULL
), door AS MATERIALIZED (
    -- A blocked task would come first: nothing is claimed, since another statement has to lock its limits before.
    SELECT openings.name FROM openings
    WHERE openings.sort_at < coalesce((SELECT min(heads.sort_at) FROM heads), 'infinity')
        AND NOT EXISTS (SELECT FROM drained)
    ORDER BY openings.sort_at LIMIT 1
), head AS MATERIALIZED (
    SELECT id, sort_at, fingerprint, is_limited, stepped FROM (
        SELECT ready.id, ready.sort_at, best.fingerprint, best.is_limited, best.stepped
        FROM (
            SELECT heads.ready_queue, heads.fingerprint, heads.is_limited, heads.stepped FROM heads
            WHERE NOT EXISTS (SELECT FROM door) AND NOT EXISTS (SELECT FROM drained) ORDER BY heads.sort_at
        ) AS best
        CROSS JOIN LATERAL (
            SELECT queue.id, queue.sort_at FROM taskqueue_task queue
            WHERE queue.ready_queue = best.ready_queue
            ORDER BY queue.sort_at, queue.id
            LIMIT 100
            FOR NO KEY UPDATE SKIP LOCKED
        ) AS ready
        LIMIT %(most)s::int
    ) AS first LIMIT 100
), claimed AS (
    UPDATE taskqueue_task task
    SET status = 'running', worker_id = %(claimant)s::int, lease = task.lease + 1,
        started_at = coalesce(task.started_at, statement_timestamp()),
        slot_acquired_at = coalesce(task.slot_acquired_at, statement_timestamp()),
        finish_by = coalesce(task.finish_by, statement_timestamp() + task.finish_within),
        code_began = CASE
            WHEN task.code_began <> '' THEN task.code_began
            ELSE coalesce(%(kept)s::jsonb #>> ARRAY[task.pipeline_id, task.version], head.fingerprint)
        END
    FROM head
    WHERE task.id = head.id AND task.id = ANY (ARRAY(SELECT id FROM head))
        -- A task that was claimed before comes alone or first: if it kills its worker, others are lost once at most.
        AND (task.lease = 0 OR task.id = (SELECT id FROM head ORDER BY sort_at, id LIMIT 1))
    RETURNING task.id, task.pipeline_id, task.lease, task.payload::text, task.labels::text, task.key, task.failures,
        task.version, task.parallel_step, task.depth, task.notify_completion, task.concurrency_key, head.is_limited,
        head.stepped,
        CASE WHEN task.parallel_step = '' THEN task.cron_at ELSE (
            SELECT parent.cron_at FROM taskqueue_task parent WHERE parent.id = task.parent_id
        ) END AS cron_at,
        task.parent_id, task.parent_key, task.cancel_grace, task.sort_at
)"""

# Claim the next tasks. When a blocked task would come first, one row with nothing but the pipeline to admit from.
CLAIM: Final = f"""
WITH {NEXT}
SELECT claimed.*, (SELECT name FROM door) AS gate
FROM (SELECT) AS one LEFT JOIN claimed ON true
ORDER BY claimed.sort_at, claimed.id
"""


def and_claim(settling: LiteralString) -> LiteralString:
    """The end of a task, and the claim of the next ones."""
    return CLAIM.replace("WITH", f"WITH {settling},", 1)
