"""Statements that look for work and claim it."""

from __future__ import annotations

from typing import Final, LiteralString

from taskqueue.engine.sql.admission import KNOWN, OPENINGS

# The queues that can be claimed from: of tasks that have a place, and where there is no gate also of those that have
# not started.
HEADS: Final = f"""
{KNOWN}, heads AS MATERIALIZED (
    SELECT name AS ready_queue, fingerprint, is_limited, stepped, going_at AS sort_at FROM known
        WHERE going_at IS NOT NULL
    UNION ALL
    SELECT name || '+', fingerprint, is_limited, stepped, fresh_at FROM known WHERE fresh_at IS NOT NULL
        AND NOT is_limited
), {OPENINGS}
"""

# The best queue's first tasks are locked. The nested loop stops at its last row, so nothing else is locked, and neither
# history nor another pipeline's backlog costs anything. When the next one stands before a gate, nothing is claimed and
# the gate is named: it has to be locked first, in a statement of its own.
# The numbers, and the ids as an array, are for the planner: it takes a limit that it does not know for a tenth of the
# table, and would walk all of it to find the claimed ones again.
# A worker that drains takes nothing: asked here, so that it holds from the very next claim on.
# A task that was claimed before comes alone or first: if it kills its worker, the others were lost once at the most.
NEXT: Final = f"""
{HEADS}, drained AS MATERIALIZED (
    SELECT FROM taskqueue_worker WHERE id = %(claimant)s::int AND draining_at IS NOT NULL
), door AS MATERIALIZED (
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
        AND (task.lease = 0 OR task.id = (SELECT id FROM head ORDER BY sort_at, id LIMIT 1))
    RETURNING task.id, task.pipeline_id, task.lease, task.payload::text, task.labels::text, task.key, task.failures,
        task.version, task.parallel_step, task.depth, task.notify_completion, task.concurrency_key, head.is_limited,
        head.stepped,
        CASE WHEN task.parallel_step = '' THEN task.cron_at ELSE (
            SELECT parent.cron_at FROM taskqueue_task parent WHERE parent.id = task.parent_id
        ) END AS cron_at,
        task.parent_id, task.parent_key, task.cancel_grace, task.sort_at
)
"""

# One row with nothing but the gate's name when nothing was claimed.
CLAIMED: Final = """
SELECT claimed.*, (SELECT name FROM door) AS gate
FROM (SELECT) AS one LEFT JOIN claimed ON true
ORDER BY claimed.sort_at, claimed.id
"""

CLAIM: Final = f"WITH {NEXT} {CLAIMED}"


def and_claim(settling: LiteralString) -> LiteralString:
    """A settling statement that also claims the next task."""
    return f"WITH {settling}, {NEXT} {CLAIMED}"
