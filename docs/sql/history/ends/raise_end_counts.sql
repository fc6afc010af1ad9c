-- Add minutes to the counters when they become final, which happens once to each minute.
-- Parameters: :start timestamptz, :until timestamptz
WITH minute AS MATERIALIZED (
    SELECT * FROM taskqueue_rollup
    WHERE span = 1 AND at >= :start::timestamptz AND at < :until::timestamptz AND pipeline <> ''
), ran_sum AS (
    SELECT pipeline, array_agg(number ORDER BY bucket) AS counts FROM (
        SELECT pipeline, bucket, sum(found.number)::int AS number
        FROM minute CROSS JOIN LATERAL unnest(minute.ran) WITH ORDINALITY AS found (number, bucket)
        GROUP BY pipeline, bucket
    ) AS buckets GROUP BY pipeline
), waited_sum AS (
    SELECT pipeline, array_agg(number ORDER BY bucket) AS counts FROM (
        SELECT pipeline, bucket, sum(found.number)::int AS number
        FROM minute CROSS JOIN LATERAL unnest(minute.waited) WITH ORDINALITY AS found (number, bucket)
        GROUP BY pipeline, bucket
    ) AS buckets GROUP BY pipeline
)
INSERT INTO taskqueue_endcount AS existing (
    pipeline, succeeded, failed, cancelled, failed_attempts, queued_seconds,
    blocked_seconds,
    waiting_seconds,
    backoff_seconds,
    executing_seconds, ran, waited
)
SELECT sums.*, coalesce(ran_sum.counts, '{}'), coalesce(waited_sum.counts, '{}') FROM (
    SELECT pipeline, sum(succeeded), sum(failed), sum(cancelled), sum(failed_attempts), sum(queued_seconds),
    sum(blocked_seconds),
    sum(waiting_seconds),
    sum(backoff_seconds),
    sum(executing_seconds)
    FROM minute GROUP BY pipeline HAVING sum(succeeded + failed + cancelled + failed_attempts) > 0
) AS sums LEFT JOIN ran_sum USING (pipeline) LEFT JOIN waited_sum USING (pipeline)
ON CONFLICT (pipeline) DO UPDATE SET
    succeeded = existing.succeeded + EXCLUDED.succeeded, failed = existing.failed + EXCLUDED.failed,
    cancelled = existing.cancelled + EXCLUDED.cancelled,
    failed_attempts = existing.failed_attempts + EXCLUDED.failed_attempts,
    queued_seconds = existing.queued_seconds + EXCLUDED.queued_seconds,
    blocked_seconds = existing.blocked_seconds + EXCLUDED.blocked_seconds,
    waiting_seconds = existing.waiting_seconds + EXCLUDED.waiting_seconds,
    backoff_seconds = existing.backoff_seconds + EXCLUDED.backoff_seconds,
    executing_seconds = existing.executing_seconds + EXCLUDED.executing_seconds, ran = ARRAY(
        SELECT coalesce(one.number, 0) + coalesce(other.number, 0)
        FROM unnest(existing.ran) WITH ORDINALITY AS one (number, bucket)
        FULL JOIN unnest(EXCLUDED.ran) WITH ORDINALITY AS other (number, bucket) USING (bucket) ORDER BY bucket
    ), waited = ARRAY(
        SELECT coalesce(one.number, 0) + coalesce(other.number, 0)
        FROM unnest(existing.waited) WITH ORDINALITY AS one (number, bucket)
        FULL JOIN unnest(EXCLUDED.waited) WITH ORDINALITY AS other (number, bucket) USING (bucket) ORDER BY bucket
    );
