-- Delete the records of keys whose rate was last used long ago: without a record a rate is unused, too. A task that has
-- a time for its start needs its record, however late it is. In the order of the primary key: an index of the times
-- would be written at every use.
-- Parameters: :after bigint
WITH scanned AS MATERIALIZED (
    SELECT id FROM taskqueue_ratelimitbucket WHERE id > :after::bigint ORDER BY id LIMIT 200
), to_delete AS MATERIALIZED (
    SELECT used.id
    FROM taskqueue_ratelimitbucket used JOIN taskqueue_ratelimit rate ON rate.name = used.rate_id
    WHERE used.id = ANY (ARRAY(SELECT id FROM scanned)) AND used.key <> ''
        AND greatest(
            used.theoretical_arrival_at, used.passes_at,
            used.blocked_until + (
            ceil(extract(epoch FROM coalesce(rate.per, rate.declared_per)) * 1000000
                / coalesce(rate.count, rate.declared_count))::bigint * interval '1 microsecond'
        ) * (coalesce(rate.burst, rate.declared_burst) - 1)
        ) < statement_timestamp() - interval '1 day'
        AND NOT EXISTS (
            SELECT FROM taskqueue_concurrencylimit concurrency
            JOIN taskqueue_task task ON task.slot_pipeline = concurrency.pipeline_id
                AND task.concurrency_key = used.key
            WHERE concurrency.rate_id = used.rate_id
            OFFSET 0
        )
    FOR UPDATE OF used SKIP LOCKED
), deleted AS (
    DELETE FROM taskqueue_ratelimitbucket WHERE id = ANY (ARRAY(SELECT id FROM to_delete)) RETURNING 1
)
SELECT (SELECT count(*) FROM deleted), (SELECT max(id) FROM scanned), (SELECT count(*) < 200 FROM scanned);
