"""Read the rollups, and what is failed now. No statement counts tasks without a bound.

`CLOCK_AND_WATERMARK`, `FAILURE_GROUPS`, `BUSIEST` and `TIME_LOST` are for the overview, `BADGES` for the navigation.
"""

from __future__ import annotations

from typing import Final

# Read the database's clock and the watermark of the rollups, and tell whether it moves.
CLOCK_AND_WATERMARK: Final = """
SELECT statement_timestamp(), mark.rolled_up_until, mark.moved_at > statement_timestamp() - interval '1 minute'
FROM (SELECT) AS one LEFT JOIN taskqueue_rollupmark mark ON true
"""

FAILED_CAP: Final = 10_000
"""The newest failed tasks that are grouped; the list counts no more either."""

# Group the failed tasks by error, pipeline and step name, so that a parallel step is one group, as in
# `TaskFilter.failure`. The status is filtered outside: statistics without a failed task would lead to the index of
# statuses.
FAILURE_GROUPS: Final = f"""
SELECT error_type, pipeline, step, count(*)::int, (array_agg(message ORDER BY finished_at DESC, id))[1],
    max(finished_at), (array_agg(id ORDER BY finished_at DESC, id))[1]
FROM (
    SELECT task.id, task.status, task.pipeline_id AS pipeline, task.finished_at,
        coalesce(task.error ->> 'type', '') AS error_type, left(coalesce(task.error ->> 'message', ''), 500) AS message,
        coalesce((
            SELECT step.name FROM taskqueue_step step
            WHERE step.task_id = task.id AND step.key = task.error ->> 'step'
        ), split_part(task.error ->> 'step', '#', 1), '') AS step
    FROM taskqueue_task task
    WHERE task.error IS NOT NULL AND task.parallel_step = ''
        AND task.finished_at >= %(start)s::timestamptz AND task.finished_at < %(until)s::timestamptz
    ORDER BY task.finished_at DESC LIMIT {FAILED_CAP}
) AS failed
WHERE status = 'failed'
GROUP BY error_type, pipeline, step
ORDER BY 4 DESC, 6 DESC LIMIT %(most)s::int
"""

# List the pipelines with the most ended tasks.
BUSIEST: Final = """
SELECT pipeline FROM taskqueue_rollup
WHERE span = 15 AND at >= %(start)s::timestamptz AND at < %(until)s::timestamptz AND pipeline <> ''
GROUP BY pipeline
HAVING sum(succeeded + failed + cancelled + sampled_blocked_seconds) > 0
ORDER BY sum(succeeded + failed) DESC, sum(sampled_blocked_seconds) DESC, pipeline LIMIT %(most)s::int
"""

# List the pipelines that lost the most time to limits.
TIME_LOST: Final = """
SELECT pipeline, sum(sampled_blocked_seconds)::int FROM taskqueue_rollup
WHERE span = %(span)s::int AND at >= %(start)s::timestamptz AND at < %(until)s::timestamptz AND pipeline <> ''
GROUP BY pipeline HAVING sum(sampled_blocked_seconds) > 0
ORDER BY 2 DESC, pipeline LIMIT %(most)s::int
"""

# Count today's failures, paused pipelines, workers and firing alerts for the navigation of every page: small tables.
# And whether a question is open, by its index.
BADGES: Final = """
SELECT coalesce((
    SELECT sum(failed) FROM taskqueue_rollup
    WHERE span = 15 AND pipeline = '' AND at >= date_trunc('day', statement_timestamp(), 'UTC')
), 0)::int,
(SELECT count(*) FROM taskqueue_pipeline WHERE paused_at IS NOT NULL)::int,
count(*)::int, (count(*) FILTER (WHERE claim_error <> ''))::int,
date_trunc('day', statement_timestamp(), 'UTC'), (count(*) FILTER (WHERE executing > 0))::int,
coalesce(sum(slots), 0)::int, coalesce(sum(executing), 0)::int,
(SELECT count(*) FROM taskqueue_alert WHERE firing_since IS NOT NULL)::int,
EXISTS (SELECT FROM taskqueue_wait WHERE outcome = '' AND assignees IS NOT NULL)::int
FROM taskqueue_worker WHERE ended_at IS NULL AND heartbeat_at > statement_timestamp() - %(heartbeat_timeout)s::interval
"""
