-- Sum the minutes of each quarter of an hour.
-- Parameters: :start timestamptz, :until timestamptz
WITH minute AS MATERIALIZED (
    SELECT *, date_bin('15 minutes', at, 'epoch') AS quarter FROM taskqueue_rollup
    WHERE span = 1 AND at >= :start::timestamptz AND at < :until::timestamptz
), outcome AS (
    SELECT quarter, pipeline, sum(sampled_blocked_seconds) AS sampled_blocked_seconds, max(queued) AS queued,
        max(oldest_seconds) AS oldest_seconds, sum(succeeded) AS succeeded,
    sum(recovered) AS recovered,
    sum(repaired) AS repaired,
    sum(failed) AS failed,
    sum(cancelled) AS cancelled,
    sum(failed_attempts) AS failed_attempts,
    sum(queued_seconds) AS queued_seconds,
    sum(blocked_seconds) AS blocked_seconds,
    sum(waiting_seconds) AS waiting_seconds,
    sum(backoff_seconds) AS backoff_seconds,
    sum(executing_seconds) AS executing_seconds
    FROM minute GROUP BY quarter, pipeline
), ran_sum AS (
    SELECT quarter, pipeline, array_agg(number ORDER BY bucket) AS counts FROM (
        SELECT quarter, pipeline, bucket, sum(found.number)::int AS number
        FROM minute CROSS JOIN LATERAL unnest(minute.ran) WITH ORDINALITY AS found (number, bucket)
        GROUP BY quarter, pipeline, bucket
    ) AS buckets GROUP BY quarter, pipeline
), waited_sum AS (
    SELECT quarter, pipeline, array_agg(number ORDER BY bucket) AS counts FROM (
        SELECT quarter, pipeline, bucket, sum(found.number)::int AS number
        FROM minute CROSS JOIN LATERAL unnest(minute.waited) WITH ORDINALITY AS found (number, bucket)
        GROUP BY quarter, pipeline, bucket
    ) AS buckets GROUP BY quarter, pipeline
)
INSERT INTO taskqueue_rollup (
    span, at, pipeline, sampled_blocked_seconds, queued, oldest_seconds, succeeded,
    recovered,
    repaired,
    failed,
    cancelled,
    failed_attempts,
    queued_seconds,
    blocked_seconds,
    waiting_seconds,
    backoff_seconds,
    executing_seconds, ran, waited
)
SELECT 15, outcome.*, coalesce(ran_sum.counts, '{}'), coalesce(waited_sum.counts, '{}')
FROM outcome LEFT JOIN ran_sum USING (quarter, pipeline) LEFT JOIN waited_sum USING (quarter, pipeline)
ON CONFLICT (span, pipeline, at) DO UPDATE SET
    sampled_blocked_seconds = EXCLUDED.sampled_blocked_seconds, queued = EXCLUDED.queued,
    oldest_seconds = EXCLUDED.oldest_seconds, ran = EXCLUDED.ran, waited = EXCLUDED.waited,
    succeeded = EXCLUDED.succeeded,
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
