"""Roll up finished tasks minute by minute, and count what is in the queues now."""

from __future__ import annotations

from typing import Final

from taskqueue.engine.sql.queues import PIPELINE_QUEUE, step_queue_depth
from taskqueue.policies.histograms import BUCKETS, PER_OCTAVE
from taskqueue.states import PHASES

COMMIT_DELAY: Final = "interval '2 seconds'"
"""Time from the beginning of a statement until its lock on the table is visible."""

ROLLUP_DELAY: Final = "interval '3 seconds'"
"""Ends are rolled up after this delay at the latest."""

UNSEEN_TRANSACTION_AGE: Final = "interval '10 minutes'"
"""The assumed age of a transaction whose start this role may not see."""

# Lock the watermark, unless another process has, and tell until when minutes can become final. `finished_at` is the
# time of a statement that may not have committed: so no minute becomes final after the start of the oldest
# transaction that writes to the tables. A statement of its own, before the rows are read.
LOCK_WATERMARK: Final = f"""
WITH writers AS (
    SELECT min(coalesce(activity.xact_start, statement_timestamp() - {UNSEEN_TRANSACTION_AGE})) AS since
    FROM pg_locks locks LEFT JOIN pg_stat_activity activity ON activity.pid = locks.pid
    WHERE locks.locktype = 'relation'
        AND locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND locks.relation IN ('taskqueue_task'::regclass, 'taskqueue_attempt'::regclass)
        AND locks.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
        AND locks.pid IS DISTINCT FROM pg_backend_pid()
), times AS (
    SELECT statement_timestamp() - {COMMIT_DELAY} AS past,
        date_bin(
            '1 minute', least(statement_timestamp() - {COMMIT_DELAY}, (SELECT since FROM writers)), 'epoch'
        ) AS settled
), progress AS (
    SELECT mark.id, times.past, times.settled, EXISTS (
        SELECT FROM taskqueue_reopened WHERE finished_at < mark.rolled_up_until
    ) AS has_reopened
    FROM taskqueue_rollupmark mark CROSS JOIN times
)
SELECT mark.final_until, mark.rolled_up_until, progress.past, progress.settled, progress.has_reopened
FROM taskqueue_rollupmark mark JOIN progress USING (id)
WHERE mark.rolled_up_until < progress.past - {ROLLUP_DELAY}
    OR mark.final_until < progress.settled OR progress.has_reopened
FOR NO KEY UPDATE OF mark SKIP LOCKED
"""

# Find the first minute since a time in which a task or an attempt ended.
FIRST_END: Final = """
SELECT date_bin('1 minute', least(
    (SELECT finished_at FROM taskqueue_task WHERE finished_at >= %(since)s::timestamptz ORDER BY finished_at LIMIT 1),
    (SELECT finished_at FROM taskqueue_attempt WHERE finished_at >= %(since)s::timestamptz ORDER BY finished_at LIMIT 1)
), 'epoch')
"""

# Move the watermark.
MOVE_WATERMARK: Final = """
UPDATE taskqueue_rollupmark SET final_until = %(final_until)s::timestamptz,
    rolled_up_until = %(rolled_up_until)s::timestamptz,
    moved_at = statement_timestamp()
"""


def bucket(seconds: str) -> str:
    """The histogram's bucket of so many seconds, as `histograms.bucket_of` has it; null of null."""
    return f"least(floor(ln(greatest({seconds} * 1000, 1)) / ln(2::float) * {PER_OCTAVE})::int, {BUCKETS - 1})"


def each_phase(template: str) -> str:
    """A column for each phase of a task's life."""
    return ",\n    ".join(template.replace("<phase>", f"{phase}_seconds") for phase in PHASES)


SUMS: Final = (
    "succeeded", "recovered", "repaired", "failed", "cancelled", "failed_attempts",
    *(f"{phase}_seconds" for phase in PHASES),
)  # fmt: skip
"""The columns of a rollup that are sums, but the sampled one."""


def each_sum(template: str) -> str:
    return ",\n    ".join(template.replace("<sum>", name) for name in SUMS)


def histogram(name: str) -> str:
    """A histogram per minute and pipeline, and per minute over all pipelines: `{name}_histogram`."""
    return f"""{name}_count AS (
    SELECT at, coalesce(pipeline, '') AS pipeline, {name} AS bucket, count(*)::int AS number
    FROM ended WHERE {name} IS NOT NULL GROUP BY GROUPING SETS ((at, pipeline, {name}), (at, {name}))
), {name}_histogram AS (
    SELECT series.at, series.pipeline, array_agg(coalesce(found.number, 0) ORDER BY bucket) AS counts
    FROM (SELECT at, pipeline, max(bucket) AS last FROM {name}_count GROUP BY at, pipeline) AS series
    CROSS JOIN LATERAL generate_series(0, series.last) AS bucket
    LEFT JOIN {name}_count found USING (at, pipeline, bucket)
    GROUP BY series.at, series.pipeline
)"""


WITHIN: Final = "finished_at >= %(start)s::timestamptz AND finished_at < %(until)s::timestamptz"

# How a task ended and where its time went, as it is counted and as a retry reopens it. Tasks from before these
# columns have only their timestamps. A failed attempt is followed by another claim. Times of cancelled tasks are not
# counted.
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

# Roll up the tasks and attempts that ended, minute by minute. It overwrites, so a minute can be rolled up often;
# samples stay, since they cannot be counted again. An end that a retry reopened before its minute became final is not
# counted here, but in taskqueue_endcount.
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
), attempts AS (
    SELECT at, coalesce(pipeline, '') AS pipeline, count(*) AS failed_attempts
    FROM failure GROUP BY GROUPING SETS ((at, pipeline), (at))
), {histogram("ran")}, {histogram("waited")}, minute_rows AS (
    SELECT at, pipeline FROM outcome UNION SELECT at, pipeline FROM attempts
    UNION SELECT at, pipeline FROM taskqueue_rollup
    WHERE span = 1 AND at >= %(start)s::timestamptz AND at < %(until)s::timestamptz
), reopened AS (
    DELETE FROM taskqueue_reopened WHERE {WITHIN} RETURNING pipeline, status
), raised AS (
    INSERT INTO taskqueue_endcount AS existing (
        pipeline, succeeded, failed, cancelled, failed_attempts, ran, waited, {each_phase("<phase>")}
    )
    SELECT pipeline, count(*) FILTER (WHERE status = 'succeeded'), count(*) FILTER (WHERE status = 'failed'),
        count(*) FILTER (WHERE status = 'cancelled'), 0, '{{}}', '{{}}', {each_phase("0 AS <phase>")}
    FROM reopened GROUP BY pipeline
    ON CONFLICT (pipeline) DO UPDATE SET
        succeeded = existing.succeeded + EXCLUDED.succeeded, failed = existing.failed + EXCLUDED.failed,
        cancelled = existing.cancelled + EXCLUDED.cancelled
)
INSERT INTO taskqueue_rollup (span, at, pipeline, ran, waited, sampled_blocked_seconds, {each_sum("<sum>")})
SELECT 1, at, pipeline, coalesce(ran_histogram.counts, '{{}}'), coalesce(waited_histogram.counts, '{{}}'), 0,
    {each_sum("coalesce(<sum>, 0)")}
FROM minute_rows
LEFT JOIN outcome USING (at, pipeline) LEFT JOIN attempts USING (at, pipeline)
LEFT JOIN ran_histogram USING (at, pipeline) LEFT JOIN waited_histogram USING (at, pipeline)
ON CONFLICT (span, pipeline, at) DO UPDATE SET
    ran = EXCLUDED.ran, waited = EXCLUDED.waited, {each_sum("<sum> = EXCLUDED.<sum>")}
"""


def summed(name: str, by: str = "quarter, pipeline") -> str:
    """The sums of the histograms of minutes: `{name}_sum`."""
    return f"""{name}_sum AS (
    SELECT {by}, array_agg(number ORDER BY bucket) AS counts FROM (
        SELECT {by}, bucket, sum(found.number)::int AS number
        FROM minute CROSS JOIN LATERAL unnest(minute.{name}) WITH ORDINALITY AS found (number, bucket)
        GROUP BY {by}, bucket
    ) AS buckets GROUP BY {by}
)"""


# Sum the minutes of each quarter of an hour.
ROLL_QUARTERS: Final = f"""
WITH minute AS MATERIALIZED (
    SELECT *, date_bin('15 minutes', at, 'epoch') AS quarter FROM taskqueue_rollup
    WHERE span = 1 AND at >= %(start)s::timestamptz AND at < %(until)s::timestamptz
), outcome AS (
    SELECT quarter, pipeline, sum(sampled_blocked_seconds) AS sampled_blocked_seconds, max(queued) AS queued,
        max(oldest_seconds) AS oldest_seconds, {each_sum("sum(<sum>) AS <sum>")}
    FROM minute GROUP BY quarter, pipeline
), {summed("ran")}, {summed("waited")}
INSERT INTO taskqueue_rollup (
    span, at, pipeline, sampled_blocked_seconds, queued, oldest_seconds, {each_sum("<sum>")}, ran, waited
)
SELECT 15, outcome.*, coalesce(ran_sum.counts, '{{}}'), coalesce(waited_sum.counts, '{{}}')
FROM outcome LEFT JOIN ran_sum USING (quarter, pipeline) LEFT JOIN waited_sum USING (quarter, pipeline)
ON CONFLICT (span, pipeline, at) DO UPDATE SET
    sampled_blocked_seconds = EXCLUDED.sampled_blocked_seconds, queued = EXCLUDED.queued,
    oldest_seconds = EXCLUDED.oldest_seconds, ran = EXCLUDED.ran, waited = EXCLUDED.waited,
    {each_sum("<sum> = EXCLUDED.<sum>")}
"""

# --- what is in the queues now ---------------------------------------------------------------------------------------

# The planner has to see the number: it takes an unknown limit for a tenth of the table.
QUEUE_DEPTH_CAP: Final = 1_000

# Force capped reads to use an index in its order, until the end of the transaction: with outdated statistics the
# planner would sort the whole queue.
FORCE_INDEX_ORDER: Final = "SELECT set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true)"

# The queues of each pipeline, counted up to the cap by one index probe each, apart from those of its steps. The oldest
# task of a queue is at its head, but for priorities.
QUEUE_DEPTH: Final = f"""{step_queue_depth(QUEUE_DEPTH_CAP)}, queue_depth AS MATERIALIZED (
    SELECT pipeline.name AS pipeline, ready.number AS ready, unstarted.number AS unstarted, keyed.number AS keyed,
        ready.parallel_steps, least(ready.oldest, unstarted.oldest, keyed.oldest) AS oldest
    FROM taskqueue_pipeline pipeline
    CROSS JOIN LATERAL (
        SELECT count(*) AS number, count(*) FILTER (WHERE parallel_step <> '') AS parallel_steps, min(due_at) AS oldest
            FROM (
            SELECT queue.due_at, queue.parallel_step FROM taskqueue_task queue WHERE queue.ready_queue = pipeline.name
            ORDER BY queue.sort_at, queue.id LIMIT {QUEUE_DEPTH_CAP}
        ) AS rows
    ) AS ready
    CROSS JOIN LATERAL (
        SELECT count(*) AS number, min(due_at) AS oldest FROM (
            SELECT queue.due_at FROM taskqueue_task queue WHERE queue.ready_queue = (pipeline.name || '+') COLLATE "C"
            ORDER BY queue.sort_at, queue.id LIMIT {QUEUE_DEPTH_CAP}
        ) AS rows
    ) AS unstarted
    CROSS JOIN LATERAL (
        SELECT count(*) AS number, min(due_at) AS oldest FROM (
            SELECT queue.due_at FROM taskqueue_task queue WHERE queue.blocked_queue = pipeline.name
            ORDER BY queue.concurrency_key, queue.sort_at, queue.id LIMIT {QUEUE_DEPTH_CAP}
        ) AS rows
    ) AS keyed
)"""

# Count the queued tasks of each pipeline, and the age of the oldest: in its own queue, and in the queue of each step.
COUNT_QUEUED: Final = f"""
WITH {QUEUE_DEPTH}
SELECT pipeline, '', (ready + unstarted + keyed - parallel_steps)::int, parallel_steps::int,
    greatest(extract(epoch FROM statement_timestamp() - oldest), 0)::float,
    ready >= {QUEUE_DEPTH_CAP} OR unstarted >= {QUEUE_DEPTH_CAP} OR keyed >= {QUEUE_DEPTH_CAP}
FROM queue_depth WHERE ready + unstarted + keyed > 0
UNION ALL
SELECT pipeline, queue, (number - parallel_steps)::int, parallel_steps::int,
    greatest(extract(epoch FROM statement_timestamp() - oldest), 0)::float, number >= {QUEUE_DEPTH_CAP}
FROM step_queue_depth
"""

# Blocked tasks: by the concurrency limit, of the pipeline or of the key; by the limit of steps; by a rate, among the
# next timers.
BLOCKED_TASKS: Final = f"""concurrency AS MATERIALIZED (
    SELECT queue_depth.pipeline, queue_depth.unstarted + queue_depth.keyed AS number,
        coalesce(concurrency.tasks, concurrency.declared_tasks) AS tasks,
        coalesce(concurrency.tasks_per_key, concurrency.declared_tasks_per_key) AS tasks_per_key
    FROM queue_depth JOIN taskqueue_concurrencylimit concurrency ON concurrency.pipeline_id = queue_depth.pipeline
    WHERE queue_depth.unstarted + queue_depth.keyed > 0
), blocked_at_limit AS (
    SELECT concurrency.pipeline, CASE
        WHEN concurrency.tasks <= (
            SELECT count(*) FROM (
                SELECT FROM taskqueue_task slot WHERE slot.slot_pipeline = concurrency.pipeline
                ORDER BY slot.slot_pipeline, slot.concurrency_key LIMIT concurrency.tasks
            ) AS slots
        ) THEN concurrency.number
        ELSE (
            SELECT count(*) FROM (
                SELECT queue.concurrency_key FROM taskqueue_task queue
                    WHERE queue.blocked_queue = concurrency.pipeline
                ORDER BY queue.concurrency_key, queue.sort_at, queue.id LIMIT {QUEUE_DEPTH_CAP}
            ) AS waiting
            WHERE concurrency.tasks_per_key <= (
                SELECT count(*) FROM (
                    SELECT FROM taskqueue_task slot
                    WHERE slot.slot_pipeline = concurrency.pipeline
                        AND slot.concurrency_key = waiting.concurrency_key
                    ORDER BY slot.slot_pipeline, slot.concurrency_key LIMIT concurrency.tasks_per_key
                ) AS slots
            )
        )
    END AS number FROM concurrency
), blocked AS (
    SELECT pipeline, number FROM blocked_at_limit
    UNION ALL
    SELECT at_step_limit.pipeline, count(*) FROM (
        SELECT task.step_limit_queue AS pipeline FROM taskqueue_task task WHERE task.step_limit_queue IS NOT NULL
        ORDER BY task.step_limit_queue, task.id LIMIT {QUEUE_DEPTH_CAP}
    ) AS at_step_limit GROUP BY at_step_limit.pipeline
    UNION ALL
    SELECT timers.pipeline, count(*) FROM (
        SELECT task.pipeline_id AS pipeline, task.blocked_on FROM taskqueue_task task WHERE task.timer_at IS NOT NULL
        ORDER BY task.timer_at LIMIT {QUEUE_DEPTH_CAP}
    ) AS timers WHERE timers.blocked_on <> '' GROUP BY timers.pipeline
)"""

# Count the claimable and the blocked tasks of every pipeline, for metrics: in its own queue, and in those of steps.
COUNT_READY: Final = f"""
WITH {QUEUE_DEPTH}, {BLOCKED_TASKS}, blocked_total AS (
    SELECT pipeline, sum(number)::int AS number FROM blocked GROUP BY pipeline
), readiness AS (
    SELECT pipeline.name, {PIPELINE_QUEUE} AS queue, pipeline.paused_at IS NOT NULL AS is_paused,
        greatest(ready + unstarted + keyed - coalesce(blocked_at_limit.number, 0), 0) AS claimable,
        coalesce(blocked_total.number, 0) AS blocked, oldest
    FROM taskqueue_pipeline pipeline
    JOIN queue_depth ON queue_depth.pipeline = pipeline.name
    LEFT JOIN blocked_at_limit ON blocked_at_limit.pipeline = pipeline.name
    LEFT JOIN blocked_total ON blocked_total.pipeline = pipeline.name
    UNION ALL
    SELECT pipeline.name, step_queue_depth.queue, pipeline.paused_at IS NOT NULL, number, 0, oldest
    FROM step_queue_depth JOIN taskqueue_pipeline pipeline ON pipeline.name = step_queue_depth.pipeline
)
SELECT name, queue, is_paused, CASE WHEN is_paused THEN 0 ELSE sum(claimable) END::int, sum(blocked)::int,
    greatest(extract(epoch FROM statement_timestamp() - min(oldest)), 0)::float
FROM readiness GROUP BY name, queue, is_paused ORDER BY name, queue
"""

# Record how many tasks are queued now, and the time lost to limits in this minute.
SAMPLE_QUEUES: Final = f"""
WITH {QUEUE_DEPTH}, {BLOCKED_TASKS}, sample AS (
    SELECT pipeline, (ready + unstarted + keyed)::int AS queued, 0 AS blocked_total,
        greatest(extract(epoch FROM statement_timestamp() - oldest), 0)::int AS oldest
    FROM queue_depth WHERE ready + unstarted + keyed > 0
    UNION ALL
    SELECT pipeline, number::int, 0, greatest(extract(epoch FROM statement_timestamp() - oldest), 0)::int
    FROM step_queue_depth
    UNION ALL
    SELECT pipeline, 0, number, NULL FROM blocked WHERE number > 0
)
INSERT INTO taskqueue_rollup AS existing (
    span, at, pipeline, succeeded, recovered, failed, cancelled, failed_attempts, ran, waited,
    sampled_blocked_seconds, queued, oldest_seconds
)
SELECT 1, %(at)s::timestamptz, coalesce(pipeline, ''), 0, 0, 0, 0, 0, '{{}}', '{{}}',
    coalesce(sum(blocked_total), 0) * 60, coalesce(sum(queued), 0), max(oldest)
FROM sample GROUP BY GROUPING SETS ((pipeline), ())
ON CONFLICT (span, pipeline, at) DO UPDATE
SET sampled_blocked_seconds = EXCLUDED.sampled_blocked_seconds, queued = EXCLUDED.queued,
    oldest_seconds = EXCLUDED.oldest_seconds
"""
