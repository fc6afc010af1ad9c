-- Roll up the tasks and attempts that ended, minute by minute. It overwrites, so a minute can be rolled up often;
-- samples stay, since they cannot be counted again. An end that a retry reopened before its minute became final is not
-- counted here, but in taskqueue_endcount.
-- Parameters: :start timestamptz, :until timestamptz
WITH ended AS MATERIALIZED (
    SELECT date_bin('1 minute', finished_at, 'epoch') AS at, task.pipeline_id AS pipeline, task.status,
    CASE WHEN task.status <> 'cancelled' THEN least(floor(ln(greatest(coalesce(task.executing_seconds, extract(epoch FROM task.finished_at - task.started_at)::float) * 1000, 1)) / ln(2::float) * 4)::int, 119) END AS ran,
    CASE WHEN task.status <> 'cancelled' THEN least(floor(ln(greatest(coalesce(task.queued_seconds, extract(epoch FROM task.started_at - task.created_at)::float) * 1000, 1)) / ln(2::float) * 4)::int, 119) END AS waited,
    task.lease > 1 AND (
        SELECT true FROM taskqueue_attempt failed WHERE failed.task_id = task.id LIMIT 1
    ) IS NOT NULL AS tried,
    task.status = 'succeeded' AND task.retried_at IS NOT NULL AS repaired,
    coalesce(task.queued_seconds, 0) AS queued_seconds,
    coalesce(task.blocked_seconds, 0) AS blocked_seconds,
    coalesce(task.waiting_seconds, 0) AS waiting_seconds,
    coalesce(task.backoff_seconds, 0) AS backoff_seconds,
    coalesce(task.executing_seconds, 0) AS executing_seconds
    FROM taskqueue_task task WHERE finished_at >= :start::timestamptz AND finished_at < :until::timestamptz AND parallel_step = ''
), outcome AS (
    SELECT at, coalesce(pipeline, '') AS pipeline, count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
    count(*) FILTER (WHERE status = 'succeeded' AND tried) AS recovered,
    count(*) FILTER (WHERE repaired) AS repaired,
    count(*) FILTER (WHERE status = 'failed') AS failed,
    count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
    coalesce(sum(queued_seconds) FILTER (WHERE status <> 'cancelled'), 0) AS queued_seconds,
    coalesce(sum(blocked_seconds) FILTER (WHERE status <> 'cancelled'), 0) AS blocked_seconds,
    coalesce(sum(waiting_seconds) FILTER (WHERE status <> 'cancelled'), 0) AS waiting_seconds,
    coalesce(sum(backoff_seconds) FILTER (WHERE status <> 'cancelled'), 0) AS backoff_seconds,
    coalesce(sum(executing_seconds) FILTER (WHERE status <> 'cancelled'), 0) AS executing_seconds
    FROM ended GROUP BY GROUPING SETS ((at, pipeline), (at))
), failure AS MATERIALIZED (
    SELECT date_bin('1 minute', attempt.finished_at, 'epoch') AS at, task.pipeline_id AS pipeline
    FROM taskqueue_attempt attempt JOIN taskqueue_task task ON task.id = attempt.task_id
    WHERE attempt.finished_at >= :start::timestamptz AND attempt.finished_at < :until::timestamptz
), attempts AS (
    SELECT at, coalesce(pipeline, '') AS pipeline, count(*) AS failed_attempts
    FROM failure GROUP BY GROUPING SETS ((at, pipeline), (at))
), ran_count AS (
    SELECT at, coalesce(pipeline, '') AS pipeline, ran AS bucket, count(*)::int AS number
    FROM ended WHERE ran IS NOT NULL GROUP BY GROUPING SETS ((at, pipeline, ran), (at, ran))
), ran_histogram AS (
    SELECT series.at, series.pipeline, array_agg(coalesce(found.number, 0) ORDER BY bucket) AS counts
    FROM (SELECT at, pipeline, max(bucket) AS last FROM ran_count GROUP BY at, pipeline) AS series
    CROSS JOIN LATERAL generate_series(0, series.last) AS bucket
    LEFT JOIN ran_count found USING (at, pipeline, bucket)
    GROUP BY series.at, series.pipeline
), waited_count AS (
    SELECT at, coalesce(pipeline, '') AS pipeline, waited AS bucket, count(*)::int AS number
    FROM ended WHERE waited IS NOT NULL GROUP BY GROUPING SETS ((at, pipeline, waited), (at, waited))
), waited_histogram AS (
    SELECT series.at, series.pipeline, array_agg(coalesce(found.number, 0) ORDER BY bucket) AS counts
    FROM (SELECT at, pipeline, max(bucket) AS last FROM waited_count GROUP BY at, pipeline) AS series
    CROSS JOIN LATERAL generate_series(0, series.last) AS bucket
    LEFT JOIN waited_count found USING (at, pipeline, bucket)
    GROUP BY series.at, series.pipeline
), minute_rows AS (
    SELECT at, pipeline FROM outcome UNION SELECT at, pipeline FROM attempts
    UNION SELECT at, pipeline FROM taskqueue_rollup
    WHERE span = 1 AND at >= :start::timestamptz AND at < :until::timestamptz
), reopened AS (
    DELETE FROM taskqueue_reopened WHERE finished_at >= :start::timestamptz AND finished_at < :until::timestamptz RETURNING pipeline, status
), raised AS (
    INSERT INTO taskqueue_endcount AS existing (
        pipeline, succeeded, failed, cancelled, failed_attempts, ran, waited, queued_seconds,
        blocked_seconds,
        waiting_seconds,
        backoff_seconds,
        executing_seconds
    )
    SELECT pipeline, count(*) FILTER (WHERE status = 'succeeded'), count(*) FILTER (WHERE status = 'failed'),
        count(*) FILTER (WHERE status = 'cancelled'), 0, '{}', '{}', 0 AS queued_seconds,
    0 AS blocked_seconds,
    0 AS waiting_seconds,
    0 AS backoff_seconds,
    0 AS executing_seconds
    FROM reopened GROUP BY pipeline
    ON CONFLICT (pipeline) DO UPDATE SET
        succeeded = existing.succeeded + EXCLUDED.succeeded, failed = existing.failed + EXCLUDED.failed,
        cancelled = existing.cancelled + EXCLUDED.cancelled
)
INSERT INTO taskqueue_rollup (span, at, pipeline, ran, waited, sampled_blocked_seconds, succeeded,
    recovered,
    repaired,
    failed,
    cancelled,
    failed_attempts,
    queued_seconds,
    blocked_seconds,
    waiting_seconds,
    backoff_seconds,
    executing_seconds)
SELECT 1, at, pipeline, coalesce(ran_histogram.counts, '{}'), coalesce(waited_histogram.counts, '{}'), 0,
    coalesce(succeeded, 0),
    coalesce(recovered, 0),
    coalesce(repaired, 0),
    coalesce(failed, 0),
    coalesce(cancelled, 0),
    coalesce(failed_attempts, 0),
    coalesce(queued_seconds, 0),
    coalesce(blocked_seconds, 0),
    coalesce(waiting_seconds, 0),
    coalesce(backoff_seconds, 0),
    coalesce(executing_seconds, 0)
FROM minute_rows
LEFT JOIN outcome USING (at, pipeline) LEFT JOIN attempts USING (at, pipeline)
LEFT JOIN ran_histogram USING (at, pipeline) LEFT JOIN waited_histogram USING (at, pipeline)
ON CONFLICT (span, pipeline, at) DO UPDATE SET
    ran = EXCLUDED.ran, waited = EXCLUDED.waited, succeeded = EXCLUDED.succeeded,
    recovered = EXCLUDED.recovered,
    repaired = EXCLUDED.repaired,
    failed = EXCLUDED.failed,
    cancelled = EXCLUDED.cancelled,
    failed_attempts = EXCLUDED.failed_attempts,
    queued_seconds = EXCLUDED.queued_seconds,
    blocked_seconds = EXCLUDED.blocked_seconds,
    waiting_seconds = EXCLUDED.waiting_seconds,
    backoff_seconds = EXCLUDED.backoff_seconds,
    executing_seconds = EXCLUDED.executing_seconds;
