"""Statements that tell why a task is not running. Each reads a bounded number of rows by an index."""

from __future__ import annotations

from typing import Final

COUNTED: Final = 10_000
"""Nobody needs to know more exactly than "more than 10,000"."""

# Ranges instead of equalities, and in an order: whatever the statistics say, only one index gives it. Those who hold a
# place in a pipeline are the first from its name on, if they are of that pipeline at all.
IN_ALL: Final = """
SELECT place.id, place.held, place.status, place.admitted_at FROM taskqueue_task place
WHERE place.held >= %(pipeline)s::text ORDER BY place.held, place."group" LIMIT %(most)s::int
"""
OF_KEY: Final = """
SELECT place.id, place.held, place.status, place.admitted_at FROM taskqueue_task place
WHERE place.held IS NOT NULL AND (place.held, place."group") >= (%(pipeline)s::text, %(group)s::text)
    AND (place.held, place."group") <= (%(pipeline)s::text, %(group)s::text)
ORDER BY place.held, place."group"
"""

# What may keep a queued task from being claimed: workers, places, and how far the rate of its pipeline's starts is
# booked. A count of places ends at the limit.
OBSTACLES: Final = f"""
WITH live AS MATERIALIZED (
    SELECT worker.pipelines @> to_jsonb(%(pipeline)s::text) AS knows, coalesce((
        SELECT true FROM taskqueue_task task
        WHERE task.worker_id >= worker.id AND task.worker_id <= worker.id AND task.status = 'running'
        ORDER BY task.worker_id LIMIT 1
    ), false) AS is_busy
    FROM taskqueue_worker worker
    WHERE worker.ended_at IS NULL AND worker.beat_at > statement_timestamp() - %(silence)s::interval
)
SELECT
    (SELECT count(*) FROM live), (SELECT count(*) FROM live WHERE knows), (SELECT count(*) FROM live WHERE is_busy),
    CASE WHEN %(most)s::int IS NOT NULL THEN (
        SELECT count(*) FROM ({IN_ALL}) AS places WHERE held = %(pipeline)s::text
    ) ELSE 0 END,
    CASE WHEN %(most_per_key)s::int IS NOT NULL AND %(group)s::text <> '' THEN (
        SELECT count(*) FROM ({OF_KEY} LIMIT %(most_per_key)s::int) AS places
    ) ELSE 0 END,
    used.arrival_at, used.held_until, coalesce(used.hold_reason, ''), statement_timestamp()
FROM (SELECT) AS one
LEFT JOIN taskqueue_rateuse used ON used.rate_id = %(rate)s::text AND used.key = %(rate_key)s::text
"""

HOLDERS: Final = f"""
SELECT * FROM ({IN_ALL}) AS places WHERE %(group)s::text IS NULL AND held = %(pipeline)s::text
UNION ALL
SELECT * FROM ({OF_KEY} LIMIT %(most)s::int) AS places WHERE %(group)s::text IS NOT NULL
"""

# The tasks that stand before it: those of its pipeline that have started and go on, and of those that have not the ones
# of its own queue. With the number of its pipeline's starts in the last five minutes, among the tasks that were made
# last before the one at the head. Rows are compared whole, so that only one index gives their order.
FROM_THE_FIRST: Final = "'-infinity'::timestamptz, '00000000-0000-0000-0000-000000000000'::uuid"
TO_ITSELF: Final = "%(sort_at)s::timestamptz, %(task)s::uuid"
IN_LANE: Final = f"""
SELECT queue.id, queue.sort_at FROM taskqueue_task queue
WHERE queue.lane IS NOT NULL AND (queue.lane, queue.sort_at, queue.id) >= ({{lane}}, {FROM_THE_FIRST})
    AND (queue.lane, queue.sort_at, queue.id) < ({{lane}}, {TO_ITSELF}) AND {{holds}}
ORDER BY queue.lane, queue.sort_at, queue.id LIMIT {COUNTED + 1}
"""
IN_GROUP: Final = f"""
SELECT queue.id, queue.sort_at FROM taskqueue_task queue
WHERE queue.group_lane IS NOT NULL
    AND (queue.group_lane, queue."group", queue.sort_at, queue.id)
        >= (%(pipeline)s::text, %(group)s::text, {FROM_THE_FIRST})
    AND (queue.group_lane, queue."group", queue.sort_at, queue.id)
        < (%(pipeline)s::text, %(group)s::text, {TO_ITSELF})
ORDER BY queue.group_lane, queue."group", queue.sort_at, queue.id LIMIT {COUNTED + 1}
"""
STARTED: Final = IN_LANE.format(lane="%(pipeline)s::text", holds="true")
FRESH: Final = IN_LANE.format(lane="(%(pipeline)s::text || '+')", holds="%(group)s::text = ''")
LOOKED_BACK: Final = 1_000

QUEUE: Final = f"""
WITH RECURSIVE ahead AS MATERIALIZED (
    ({STARTED}) UNION ALL ({FRESH}) UNION ALL ({IN_GROUP})
), recent AS (
    -- One probe each: whatever the planner thinks of how many there are, it reads no others.
    SELECT coalesce((SELECT id FROM ahead ORDER BY sort_at, id LIMIT 1), %(task)s::uuid) AS id,
        false AS counts, NULL::timestamptz AS started_at, 0 AS number
    UNION ALL
    SELECT older.id, older.counts, older.started_at, recent.number + 1
    FROM recent CROSS JOIN LATERAL (
        SELECT task.id, task.pipeline_id = %(pipeline)s::text AND task.branch = '' AS counts, task.started_at
        FROM taskqueue_task task WHERE task.id < recent.id ORDER BY task.id DESC LIMIT 1
    ) AS older
    WHERE recent.number < {LOOKED_BACK}
)
SELECT (SELECT count(*) FROM ahead), count(*), extract(epoch FROM statement_timestamp() - min(started_at))::float
FROM recent
WHERE counts AND started_at > statement_timestamp() - interval '5 minutes'
"""

# Of the next timers those that wait for the same rate: booked before it. Whether all that come before it were read.
# So few that no plan can seem better than the index, also without statistics.
TIMERS_READ: Final = 500
BOOKED: Final = f"""
SELECT count(*) FILTER (WHERE waits_at = %(rate)s::text AND (
    %(group)s::text IS NULL OR pipeline_id = %(pipeline)s::text AND "group" = %(group)s::text
)), count(*) <= {TIMERS_READ}
FROM (
    SELECT task.waits_at, task.pipeline_id, task."group", task.timer_at FROM taskqueue_task task
    WHERE task.timer_at IS NOT NULL
    ORDER BY task.timer_at LIMIT {TIMERS_READ + 1}
) AS timers
WHERE timer_at < %(due_at)s::timestamptz
"""
