"""Statements that read the rollups. None of them looks at the tasks."""

from __future__ import annotations

from typing import Final

NOW: Final = "SELECT statement_timestamp(), (SELECT rolled_until FROM taskqueue_rollupmark)"

TROUBLES: Final = """
SELECT error_type, pipeline, step, sum(number)::int, (array_agg(last_message ORDER BY last_at DESC))[1], max(last_at),
    (array_agg(last_task ORDER BY last_at DESC))[1]
FROM taskqueue_failuregroup
WHERE span = %(span)s::int AND at >= %(start)s::timestamptz AND at < %(until)s::timestamptz
GROUP BY error_type, pipeline, step
ORDER BY 4 DESC, 6 DESC LIMIT %(most)s::int
"""

# The busiest first; with what each lost to limits.
BUSIEST: Final = """
SELECT pipeline, sum(succeeded)::int, sum(recovered)::int, sum(failed)::int, sum(cancelled)::int, sum(lost_seconds)::int
FROM taskqueue_rollup
WHERE span = 15 AND at >= %(start)s::timestamptz AND at < %(until)s::timestamptz AND pipeline <> ''
GROUP BY pipeline
HAVING sum(succeeded + failed + cancelled + lost_seconds) > 0
ORDER BY sum(succeeded + failed) DESC, sum(lost_seconds) DESC, pipeline LIMIT %(most)s::int
"""

DAYS: Final = """
SELECT pipeline, date_bin(%(bar)s::interval, at, %(start)s::timestamptz), sum(succeeded)::int, sum(failed)::int
FROM taskqueue_rollup
WHERE span = 15 AND pipeline = ANY (%(pipelines)s::text[])
    AND at >= %(start)s::timestamptz AND at < %(until)s::timestamptz
GROUP BY 1, 2
"""

LOST: Final = """
SELECT pipeline, sum(lost_seconds)::int FROM taskqueue_rollup
WHERE span = %(span)s::int AND at >= %(start)s::timestamptz AND at < %(until)s::timestamptz AND pipeline <> ''
GROUP BY pipeline HAVING sum(lost_seconds) > 0
ORDER BY 2 DESC, pipeline LIMIT %(most)s::int
"""

# For the navigation of every page: three small tables, in one round trip.
PILLS: Final = """
SELECT coalesce((
    SELECT sum(failed) FROM taskqueue_rollup
    WHERE span = 15 AND pipeline = '' AND at >= date_trunc('day', statement_timestamp(), 'UTC')
), 0)::int,
(SELECT count(*) FROM taskqueue_pipeline WHERE paused_at IS NOT NULL)::int,
count(*)::int, (count(*) FILTER (WHERE cannot_claim <> ''))::int
FROM taskqueue_worker WHERE ended_at IS NULL AND beat_at > statement_timestamp() - %(silence)s::interval
"""
