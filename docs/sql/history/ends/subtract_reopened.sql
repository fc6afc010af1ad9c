-- Subtract reopened ends from the rollups of final minutes, which cannot be counted again, as some tasks may have been
-- pruned. ROLL_MINUTES has deleted the reopened ends that it saw, and not counted them.
-- Parameters: :final_until timestamptz
WITH reopened AS (
    DELETE FROM taskqueue_reopened WHERE id IN (
        SELECT id FROM taskqueue_reopened WHERE finished_at < :final_until::timestamptz
        ORDER BY finished_at LIMIT 1000
    ) RETURNING *
), change AS (
    SELECT spans.span, date_bin(spans.span * interval '1 minute', reopened.finished_at, 'epoch') AS at, names.name,
        count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
    count(*) FILTER (WHERE status = 'succeeded' AND tried) AS recovered,
    count(*) FILTER (WHERE repaired) AS repaired,
    count(*) FILTER (WHERE status = 'failed') AS failed,
    count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
    coalesce(sum(queued_seconds) FILTER (WHERE status <> 'cancelled'), 0) AS queued_seconds,
    coalesce(sum(blocked_seconds) FILTER (WHERE status <> 'cancelled'), 0) AS blocked_seconds,
    coalesce(sum(waiting_seconds) FILTER (WHERE status <> 'cancelled'), 0) AS waiting_seconds,
    coalesce(sum(backoff_seconds) FILTER (WHERE status <> 'cancelled'), 0) AS backoff_seconds,
    coalesce(sum(executing_seconds) FILTER (WHERE status <> 'cancelled'), 0) AS executing_seconds, array_agg(reopened.ran) FILTER (WHERE reopened.ran IS NOT NULL) AS ran,
        array_agg(reopened.waited) FILTER (WHERE reopened.waited IS NOT NULL) AS waited
    FROM reopened CROSS JOIN (VALUES (1), (15)) AS spans (span)
    CROSS JOIN LATERAL (VALUES (reopened.pipeline), ('')) AS names (name)
    GROUP BY 1, 2, 3
)
UPDATE taskqueue_rollup existing SET
    succeeded = greatest(existing.succeeded - reopened.succeeded, 0),
    recovered = greatest(existing.recovered - reopened.recovered, 0),
    repaired = greatest(existing.repaired - reopened.repaired, 0),
    failed = greatest(existing.failed - reopened.failed, 0),
    cancelled = greatest(existing.cancelled - reopened.cancelled, 0),
    ran = ARRAY(
        SELECT greatest(old.number - (SELECT count(*) FROM unnest(reopened.ran) AS ended
                                        WHERE ended = old.bucket - 1), 0)::int
        FROM unnest(existing.ran) WITH ORDINALITY AS old (number, bucket) ORDER BY old.bucket
    ), waited = ARRAY(
        SELECT greatest(old.number - (SELECT count(*) FROM unnest(reopened.waited) AS ended
                                        WHERE ended = old.bucket - 1), 0)::int
        FROM unnest(existing.waited) WITH ORDINALITY AS old (number, bucket) ORDER BY old.bucket
    ),
    queued_seconds = greatest(existing.queued_seconds - reopened.queued_seconds, 0),
    blocked_seconds = greatest(existing.blocked_seconds - reopened.blocked_seconds, 0),
    waiting_seconds = greatest(existing.waiting_seconds - reopened.waiting_seconds, 0),
    backoff_seconds = greatest(existing.backoff_seconds - reopened.backoff_seconds, 0),
    executing_seconds = greatest(existing.executing_seconds - reopened.executing_seconds, 0)
FROM change reopened
WHERE existing.span = reopened.span AND existing.at = reopened.at AND existing.pipeline = reopened.name;
