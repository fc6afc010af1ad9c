-- Read the pipelines with some failed tasks in the last hour, and how they did in the seven days before. Hours are of
-- whole quarters, as the rollups count.
-- Parameters: :least int
WITH clock AS (
    SELECT date_bin('15 minutes', statement_timestamp(), '2000-01-01 00:00:00+00') - interval '45 minutes' AS since
), failing AS MATERIALIZED (
    SELECT rollup.pipeline, sum(rollup.failed)::int AS failed, sum(rollup.succeeded + rollup.failed)::int AS decided
    FROM clock JOIN taskqueue_rollup rollup ON rollup.span = 15 AND rollup.at >= clock.since
    WHERE rollup.pipeline <> ''
    GROUP BY rollup.pipeline HAVING sum(rollup.failed) >= :least::int
)
SELECT failing.pipeline, failing.failed, failing.decided, usual.failed, usual.decided
FROM clock CROSS JOIN failing CROSS JOIN LATERAL (
    SELECT coalesce(sum(rollup.failed), 0)::int AS failed,
        coalesce(sum(rollup.succeeded + rollup.failed), 0)::int AS decided
    FROM taskqueue_rollup rollup
    WHERE rollup.span = 15 AND rollup.pipeline = failing.pipeline
        AND rollup.at >= clock.since - interval '7 days' AND rollup.at < clock.since
) AS usual;
