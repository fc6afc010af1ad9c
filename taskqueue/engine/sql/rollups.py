"""Roll up what ended, minute by minute, and count what is in the queues now.

The watermark: `MAKE_MARK`, `LOCK_MARK`, `FIRST_END`, `MOVE_MARK`. The rollups: `ROLL_MINUTES`, `ROLL_QUARTERS`,
`PRUNE`. The queues: `IN_ORDER`, then `STANDING_NOW`, `READY_NOW` or `SAMPLE`.
"""

from __future__ import annotations

from typing import Final

from taskqueue.policies.histograms import BUCKETS, PER_OCTAVE
from taskqueue.states import PHASES

SETTLE: Final = "interval '2 seconds'"
"""How long a statement may take from its beginning until its lock on the table can be seen."""

FRESH: Final = "interval '3 seconds'"
"""What ended so lately need not be counted yet."""

UNSEEN: Final = "interval '10 minutes'"
"""The age of a transaction whose beginning this role may not see."""

# Lock the watermark, unless another process has, and tell up to which time minutes can be closed. A time of end is that
# of the statement that writes it, which may not have committed: so nothing is closed after the beginning of the oldest
# transaction that writes to the tables. Read before the rows are, in a statement of its own.
LOCK_MARK: Final = f"""
WITH writers AS (
    SELECT min(coalesce(activity.xact_start, statement_timestamp() - {UNSEEN})) AS since
    FROM pg_locks held LEFT JOIN pg_stat_activity activity ON activity.pid = held.pid
    WHERE held.locktype = 'relation'
        AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND held.relation IN ('taskqueue_task'::regclass, 'taskqueue_attempt'::regclass)
        AND held.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
        AND held.pid IS DISTINCT FROM pg_backend_pid()
), times AS (
    SELECT statement_timestamp() - {SETTLE} AS past,
        date_bin('1 minute', least(statement_timestamp() - {SETTLE}, (SELECT since FROM writers)), 'epoch') AS settled
), known AS (
    SELECT mark.id, times.past, times.settled, EXISTS (
        SELECT FROM taskqueue_reopened WHERE finished_at < mark.rolled_up_until
    ) AS has_reopened
    FROM taskqueue_rollupmark mark CROSS JOIN times
)
SELECT mark.final_until, mark.rolled_up_until, known.past, known.settled, known.has_reopened
FROM taskqueue_rollupmark mark JOIN known USING (id)
WHERE mark.rolled_up_until < known.past - {FRESH} OR mark.final_until < known.settled OR known.has_reopened
FOR NO KEY UPDATE OF mark SKIP LOCKED
"""

# Find the first minute since a time in which a task or an attempt ended.
FIRST_END: Final = """
SELECT date_bin('1 minute', least(
    (SELECT finished_at FROM taskqueue_task WHERE finished_at >= %(since)s::timestamptz ORDER BY finished_at LIMIT 1),
    (SELECT finished_at FROM taskqueue_attempt WHERE finished_at >= %(since)s::timestamptz ORDER BY finished_at LIMIT 1)
), 'epoch')
"""

# Create the watermark.
MAKE_MARK: Final = """
INSERT INTO taskqueue_rollupmark (id, final_until, rolled_up_until)
SELECT 1, begin.at, begin.at FROM (
    SELECT date_bin('1 minute', statement_timestamp() - %(kept)s::interval, 'epoch') AS at
) AS begin
WHERE NOT EXISTS (SELECT FROM taskqueue_rollupmark)
ON CONFLICT DO NOTHING
"""

# Move the watermark.
MOVE_MARK: Final = """
UPDATE taskqueue_rollupmark SET final_until = %(closed)s::timestamptz, rolled_up_until = %(rolled)s::timestamptz,
    moved_at = statement_timestamp()
"""


def bucket(seconds: str) -> str:
    """The histogram's bucket of so many seconds, as `histograms.bucket_of` has it; null of null."""
    return f"least(floor(ln(greatest({seconds} * 1000, 1)) / ln(2::float) * {PER_OCTAVE})::int, {BUCKETS - 1})"


def each_phase(template: str) -> str:
    """A column for each phase of a task's life."""
    return ",\n    ".join(template.replace("<phase>", f"{phase}_seconds") for phase in PHASES)


def counted(name: str) -> str:
    """One histogram for each minute and pipeline, and for each minute of all: `{name}_histogram`."""
    return f"""{name}_count AS (
    SELECT at, coalesce(pipeline, '') AS pipeline, {name} AS place, count(*)::int AS number
    FROM ended WHERE {name} IS NOT NULL GROUP BY GROUPING SETS ((at, pipeline, {name}), (at, {name}))
), {name}_histogram AS (
    SELECT reach.at, reach.pipeline, array_agg(coalesce(found.number, 0) ORDER BY place) AS counts
    FROM (SELECT at, pipeline, max(place) AS last FROM {name}_count GROUP BY at, pipeline) AS reach
    CROSS JOIN LATERAL generate_series(0, reach.last) AS place
    LEFT JOIN {name}_count found USING (at, pipeline, place)
    GROUP BY reach.at, reach.pipeline
)"""


WITHIN: Final = "finished_at >= %(start)s::timestamptz AND finished_at < %(until)s::timestamptz"

# How a task ended and where its time went, as it is counted and as a retry takes it back. Tasks from before these
# columns have only their times. A failed attempt is followed by another claim. The times of a cancelled task say
# nothing.
ENDED: Final = f"""task.pipeline_id AS pipeline, task.status,
CASE WHEN task.status <> 'cancelled' THEN {
    bucket("coalesce(task.executing_seconds, extract(epoch FROM task.finished_at - task.started_at)::float)")
} END AS ran,
CASE WHEN task.status <> 'cancelled' THEN {
    bucket("coalesce(task.queued_seconds, extract(epoch FROM task.started_at - task.created_at)::float)")
} END AS waited,
task.lease > 1 AND (
    SELECT true FROM taskqueue_attempt failed WHERE failed.task_id = task.id LIMIT 1
) IS NOT NULL AS tried,
task.status = 'succeeded' AND task.retried_at IS NOT NULL AS repaired,
{each_phase("coalesce(task.<phase>, 0) AS <phase>")}"""

OUTCOMES: Final = f"""count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
count(*) FILTER (WHERE status = 'succeeded' AND tried) AS recovered,
count(*) FILTER (WHERE repaired) AS repaired,
count(*) FILTER (WHERE status = 'failed') AS failed,
count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
{each_phase("coalesce(sum(<phase>) FILTER (WHERE status <> 'cancelled'), 0) AS <phase>")}"""

# Roll up the tasks and attempts that ended, minute by minute. It overwrites, so a minute can be rolled up often; what
# was sampled stays, since it cannot be counted again. An end that a retry took back before its minute was closed is in
# no count of this statement, which sees the retry; it still counts in taskqueue_endcount.
ROLL_MINUTES: Final = f"""
WITH ended AS MATERIALIZED (
    SELECT date_bin('1 minute', finished_at, 'epoch') AS at, {ENDED}
    FROM taskqueue_task task WHERE {WITHIN} AND parallel_step = ''
), outcome AS (
    SELECT at, coalesce(pipeline, '') AS pipeline, {OUTCOMES}
    FROM ended GROUP BY GROUPING SETS ((at, pipeline), (at))
), failure AS MATERIALIZED (
    SELECT date_bin('1 minute', attempt.finished_at, 'epoch') AS at, task.pipeline_id AS pipeline
    FROM taskqueue_attempt attempt JOIN taskqueue_task task ON task.id = attempt.task_id
    WHERE attempt.finished_at >= %(start)s::timestamptz AND attempt.finished_at < %(until)s::timestamptz
), tries AS (
    SELECT at, coalesce(pipeline, '') AS pipeline, count(*) AS number
    FROM failure GROUP BY GROUPING SETS ((at, pipeline), (at))
), {counted("ran")}, {counted("waited")}, place AS (
    SELECT at, pipeline FROM outcome UNION SELECT at, pipeline FROM tries
    UNION SELECT at, pipeline FROM taskqueue_rollup
    WHERE span = 1 AND at >= %(start)s::timestamptz AND at < %(until)s::timestamptz
), passed_over AS (
    DELETE FROM taskqueue_reopened WHERE {WITHIN} RETURNING pipeline, status
), raised AS (
    INSERT INTO taskqueue_endcount AS known (
        pipeline, succeeded, failed, cancelled, failed_attempts, ran, waited, {each_phase("<phase>")}
    )
    SELECT pipeline, count(*) FILTER (WHERE status = 'succeeded'), count(*) FILTER (WHERE status = 'failed'),
        count(*) FILTER (WHERE status = 'cancelled'), 0, '{{}}', '{{}}', {each_phase("0 AS <phase>")}
    FROM passed_over GROUP BY pipeline
    ON CONFLICT (pipeline) DO UPDATE SET
        succeeded = known.succeeded + EXCLUDED.succeeded, failed = known.failed + EXCLUDED.failed,
        cancelled = known.cancelled + EXCLUDED.cancelled
)
INSERT INTO taskqueue_rollup (
    span, at, pipeline, succeeded, recovered, repaired, failed, cancelled, failed_attempts, ran, waited,
    sampled_blocked_seconds,
    {each_phase("<phase>")}
)
SELECT 1, at, pipeline, coalesce(succeeded, 0), coalesce(recovered, 0), coalesce(repaired, 0), coalesce(failed, 0),
    coalesce(cancelled, 0), coalesce(tries.number, 0), coalesce(ran_histogram.counts, '{{}}'),
    coalesce(waited_histogram.counts, '{{}}'), 0, {each_phase("coalesce(<phase>, 0)")}
FROM place
LEFT JOIN outcome USING (at, pipeline) LEFT JOIN tries USING (at, pipeline)
LEFT JOIN ran_histogram USING (at, pipeline) LEFT JOIN waited_histogram USING (at, pipeline)
ON CONFLICT (span, pipeline, at) DO UPDATE SET
    succeeded = EXCLUDED.succeeded, recovered = EXCLUDED.recovered, repaired = EXCLUDED.repaired,
    failed = EXCLUDED.failed, cancelled = EXCLUDED.cancelled, failed_attempts = EXCLUDED.failed_attempts,
    ran = EXCLUDED.ran, waited = EXCLUDED.waited, {each_phase("<phase> = EXCLUDED.<phase>")}
"""


def summed(name: str, by: str = "quarter, pipeline") -> str:
    """The sums of the histograms of minutes: `{name}_sum`."""
    return f"""{name}_sum AS (
    SELECT {by}, array_agg(number ORDER BY place) AS counts FROM (
        SELECT {by}, place, sum(found.number)::int AS number
        FROM minute CROSS JOIN LATERAL unnest(minute.{name}) WITH ORDINALITY AS found (number, place)
        GROUP BY {by}, place
    ) AS places GROUP BY {by}
)"""


# Sum minutes up to quarters of an hour.
ROLL_QUARTERS: Final = f"""
WITH minute AS MATERIALIZED (
    SELECT *, date_bin('15 minutes', at, 'epoch') AS quarter FROM taskqueue_rollup
    WHERE span = 1 AND at >= %(start)s::timestamptz AND at < %(until)s::timestamptz
), outcome AS (
    SELECT quarter, pipeline, sum(succeeded) AS succeeded, sum(recovered) AS recovered,
        sum(repaired) AS repaired, sum(failed) AS failed, sum(cancelled) AS cancelled,
        sum(failed_attempts) AS failed_attempts, sum(sampled_blocked_seconds) AS sampled_blocked_seconds,
        max(queued) AS queued, max(oldest_seconds) AS oldest_seconds, {each_phase("sum(<phase>) AS <phase>")}
    FROM minute GROUP BY quarter, pipeline
), {summed("ran")}, {summed("waited")}
INSERT INTO taskqueue_rollup (
    span, at, pipeline, succeeded, recovered, repaired, failed, cancelled, failed_attempts, sampled_blocked_seconds,
    queued,
    oldest_seconds, {each_phase("<phase>")}, ran, waited
)
SELECT 15, outcome.*, coalesce(ran_sum.counts, '{{}}'), coalesce(waited_sum.counts, '{{}}')
FROM outcome LEFT JOIN ran_sum USING (quarter, pipeline) LEFT JOIN waited_sum USING (quarter, pipeline)
ON CONFLICT (span, pipeline, at) DO UPDATE SET
    succeeded = EXCLUDED.succeeded, recovered = EXCLUDED.recovered, repaired = EXCLUDED.repaired,
    failed = EXCLUDED.failed, cancelled = EXCLUDED.cancelled, failed_attempts = EXCLUDED.failed_attempts,
    sampled_blocked_seconds = EXCLUDED.sampled_blocked_seconds, queued = EXCLUDED.queued,
    oldest_seconds = EXCLUDED.oldest_seconds,
    ran = EXCLUDED.ran, waited = EXCLUDED.waited, {each_phase("<phase> = EXCLUDED.<phase>")}
"""

# Delete old rollups.
PRUNE: Final = "DELETE FROM taskqueue_rollup WHERE span = %(span)s::int AND at < %(before)s::timestamptz"

# --- what is in the queues now ---------------------------------------------------------------------------------------

# The planner has to see the number: it takes an unknown limit for a tenth of the table.
STANDING_MOST: Final = 1_000

# Let reads up to a cap come from their index in order, until the end of the transaction: with statistics older than the
# queue the planner would sort all of it.
IN_ORDER: Final = "SELECT set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true)"

# The queues of each pipeline, counted up to the cap by one index probe each. The oldest task of a queue is at its head,
# but for priorities.
STANDING: Final = f"""standing AS MATERIALIZED (
    SELECT pipeline.name AS pipeline, going.number AS going, fresh.number AS fresh, grouped.number AS grouped,
        going.parallel_steps, least(going.oldest, fresh.oldest, grouped.oldest) AS oldest
    FROM taskqueue_pipeline pipeline
    CROSS JOIN LATERAL (
        SELECT count(*) AS number, count(*) FILTER (WHERE parallel_step <> '') AS parallel_steps, min(due_at) AS oldest
            FROM (
            SELECT queue.due_at, queue.parallel_step FROM taskqueue_task queue WHERE queue.ready_queue = pipeline.name
            ORDER BY queue.sort_at, queue.id LIMIT {STANDING_MOST}
        ) AS rows
    ) AS going
    CROSS JOIN LATERAL (
        SELECT count(*) AS number, min(due_at) AS oldest FROM (
            SELECT queue.due_at FROM taskqueue_task queue WHERE queue.ready_queue = (pipeline.name || '+') COLLATE "C"
            ORDER BY queue.sort_at, queue.id LIMIT {STANDING_MOST}
        ) AS rows
    ) AS fresh
    CROSS JOIN LATERAL (
        SELECT count(*) AS number, min(due_at) AS oldest FROM (
            SELECT queue.due_at FROM taskqueue_task queue WHERE queue.blocked_queue = pipeline.name
            ORDER BY queue.concurrency_key, queue.sort_at, queue.id LIMIT {STANDING_MOST}
        ) AS rows
    ) AS grouped
)"""

# Count the queued tasks of each pipeline, and the age of the oldest.
STANDING_NOW: Final = f"""
WITH {STANDING}
SELECT pipeline, (going + fresh + grouped - parallel_steps)::int, parallel_steps::int,
    greatest(extract(epoch FROM statement_timestamp() - oldest), 0)::float,
    going >= {STANDING_MOST} OR fresh >= {STANDING_MOST} OR grouped >= {STANDING_MOST}
FROM standing WHERE going + fresh + grouped > 0
"""

# Blocked tasks: by the concurrency limit, of the pipeline or of the key; by the limit of steps; by a rate, among the
# next timers.
HELD_BACK: Final = f"""concurrency AS MATERIALIZED (
    SELECT standing.pipeline, standing.fresh + standing.grouped AS number,
        coalesce(concurrency.tasks, concurrency.declared_tasks) AS most,
        coalesce(concurrency.tasks_per_key, concurrency.declared_tasks_per_key) AS most_per_key
    FROM standing JOIN taskqueue_concurrencylimit concurrency ON concurrency.pipeline_id = standing.pipeline
    WHERE standing.fresh + standing.grouped > 0
), held_at_gate AS (
    SELECT concurrency.pipeline, CASE
        WHEN concurrency.most <= (
            SELECT count(*) FROM (
                SELECT FROM taskqueue_task place WHERE place.slot_pipeline = concurrency.pipeline
                ORDER BY place.slot_pipeline, place.concurrency_key LIMIT concurrency.most
            ) AS places
        ) THEN concurrency.number
        ELSE (
            SELECT count(*) FROM (
                SELECT queue.concurrency_key FROM taskqueue_task queue
                    WHERE queue.blocked_queue = concurrency.pipeline
                ORDER BY queue.concurrency_key, queue.sort_at, queue.id LIMIT {STANDING_MOST}
            ) AS waiting
            WHERE concurrency.most_per_key <= (
                SELECT count(*) FROM (
                    SELECT FROM taskqueue_task place
                    WHERE place.slot_pipeline = concurrency.pipeline
                        AND place.concurrency_key = waiting.concurrency_key
                    ORDER BY place.slot_pipeline, place.concurrency_key LIMIT concurrency.most_per_key
                ) AS places
            )
        )
    END AS number FROM concurrency
), held_back AS (
    SELECT pipeline, number FROM held_at_gate
    UNION ALL
    SELECT at_step.pipeline, count(*) FROM (
        SELECT task.step_limit_queue AS pipeline FROM taskqueue_task task WHERE task.step_limit_queue IS NOT NULL
        ORDER BY task.step_limit_queue, task.id LIMIT {STANDING_MOST}
    ) AS at_step GROUP BY at_step.pipeline
    UNION ALL
    SELECT booked.pipeline, count(*) FROM (
        SELECT task.pipeline_id AS pipeline, task.blocked_on FROM taskqueue_task task WHERE task.timer_at IS NOT NULL
        ORDER BY task.timer_at LIMIT {STANDING_MOST}
    ) AS booked WHERE booked.blocked_on <> '' GROUP BY booked.pipeline
)"""

# Count the claimable and the blocked tasks of every pipeline, for metrics.
READY_NOW: Final = f"""
WITH {STANDING}, {HELD_BACK}, held AS (SELECT pipeline, sum(number)::int AS number FROM held_back GROUP BY pipeline)
SELECT pipeline.name, pipeline.paused_at IS NOT NULL, CASE WHEN pipeline.paused_at IS NULL THEN
        greatest(going + fresh + grouped - coalesce(held_at_gate.number, 0), 0) ELSE 0
    END::int, coalesce(held.number, 0), greatest(extract(epoch FROM statement_timestamp() - oldest), 0)::float
FROM taskqueue_pipeline pipeline
JOIN standing ON standing.pipeline = pipeline.name
LEFT JOIN held_at_gate ON held_at_gate.pipeline = pipeline.name
LEFT JOIN held ON held.pipeline = pipeline.name
ORDER BY pipeline.name
"""

# Record how many tasks are queued now, and the time lost to limits in this minute.
SAMPLE: Final = f"""
WITH {STANDING}, {HELD_BACK}, sample AS (
    SELECT pipeline, (going + fresh + grouped)::int AS queued, 0 AS held,
        greatest(extract(epoch FROM statement_timestamp() - oldest), 0)::int AS oldest
    FROM standing WHERE going + fresh + grouped > 0
    UNION ALL
    SELECT pipeline, 0, number, NULL FROM held_back WHERE number > 0
)
INSERT INTO taskqueue_rollup AS known (
    span, at, pipeline, succeeded, recovered, failed, cancelled, failed_attempts, ran, waited,
    sampled_blocked_seconds, queued,
    oldest_seconds
)
SELECT 1, %(at)s::timestamptz, coalesce(pipeline, ''), 0, 0, 0, 0, 0, '{{}}', '{{}}', coalesce(sum(held), 0) * 60,
    coalesce(sum(queued), 0), max(oldest)
FROM sample GROUP BY GROUPING SETS ((pipeline), ())
ON CONFLICT (span, pipeline, at) DO UPDATE
SET sampled_blocked_seconds = EXCLUDED.sampled_blocked_seconds, queued = EXCLUDED.queued,
oldest_seconds = EXCLUDED.oldest_seconds
"""
