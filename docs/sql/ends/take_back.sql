-- Subtract such ends from the rollups of closed minutes, which cannot be counted again, as some tasks may have been
-- pruned. What the closing statement saw taken back it has deleted, and not counted.
-- Parameters: :closed timestamptz
WITH gone AS (
    DELETE FROM taskqueue_reopened WHERE id IN (
        SELECT id FROM taskqueue_reopened WHERE finished_at < :closed::timestamptz ORDER BY finished_at LIMIT 1000
    ) RETURNING *
), change AS (
    SELECT spans.span, date_bin(spans.span * interval '1 minute', gone.finished_at, 'epoch') AS at, names.name,
        count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
    count(*) FILTER (WHERE status = 'succeeded' AND tried) AS recovered,
    count(*) FILTER (WHERE repaired) AS repaired,
    count(*) FILTER (WHERE status = 'failed') AS failed,
    count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
    coalesce(sum(queued_seconds) FILTER (WHERE status <> 'cancelled'), 0) AS queued_seconds,
    coalesce(sum(blocked_seconds) FILTER (WHERE status <> 'cancelled'), 0) AS blocked_seconds,
    coalesce(sum(waiting_seconds) FILTER (WHERE status <> 'cancelled'), 0) AS waiting_seconds,
    coalesce(sum(backoff_seconds) FILTER (WHERE status <> 'cancelled'), 0) AS backoff_seconds,
    coalesce(sum(executing_seconds) FILTER (WHERE status <> 'cancelled'), 0) AS executing_seconds, array_agg(gone.ran) FILTER (WHERE gone.ran IS NOT NULL) AS ran,
        array_agg(gone.waited) FILTER (WHERE gone.waited IS NOT NULL) AS waited
    FROM gone CROSS JOIN (VALUES (1), (15)) AS spans (span)
    CROSS JOIN LATERAL (VALUES (gone.pipeline), ('')) AS names (name)
    GROUP BY 1, 2, 3
)
UPDATE taskqueue_rollup known SET
    succeeded = greatest(known.succeeded - gone.succeeded, 0),
    recovered = greatest(known.recovered - gone.recovered, 0),
    repaired = greatest(known.repaired - gone.repaired, 0), failed = greatest(known.failed - gone.failed, 0),
    cancelled = greatest(known.cancelled - gone.cancelled, 0), ran = ARRAY(
        SELECT greatest(place.number - (SELECT count(*) FROM unnest(gone.ran) AS bucket
                                        WHERE bucket = place.place - 1), 0)::int
        FROM unnest(known.ran) WITH ORDINALITY AS place (number, place) ORDER BY place.place
    ), waited = ARRAY(
        SELECT greatest(place.number - (SELECT count(*) FROM unnest(gone.waited) AS bucket
                                        WHERE bucket = place.place - 1), 0)::int
        FROM unnest(known.waited) WITH ORDINALITY AS place (number, place) ORDER BY place.place
    ),
    queued_seconds = greatest(known.queued_seconds - gone.queued_seconds, 0),
    blocked_seconds = greatest(known.blocked_seconds - gone.blocked_seconds, 0),
    waiting_seconds = greatest(known.waiting_seconds - gone.waiting_seconds, 0),
    backoff_seconds = greatest(known.backoff_seconds - gone.backoff_seconds, 0),
    executing_seconds = greatest(known.executing_seconds - gone.executing_seconds, 0)
FROM change gone
WHERE known.span = gone.span AND known.at = gone.at AND known.pipeline = gone.name;
