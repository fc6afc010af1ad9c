-- Tell what may keep a queued task from being claimed: workers, slots (counted up to the limit), and how far the rate
-- of its pipeline is reserved.
-- Parameters: :pipeline text, :silence interval, :most int, :most_per_key int, :concurrency_key text, :rate text,
-- :rate_key text
WITH live AS MATERIALIZED (
    SELECT worker.pipelines @> to_jsonb(:pipeline::text) AS knows, worker.draining_at IS NOT NULL AS drains,
        worker.claim_error <> '' AS fails, coalesce((
            SELECT true FROM taskqueue_task task
            WHERE task.worker_id >= worker.id AND task.worker_id <= worker.id AND task.status = 'running'
            ORDER BY task.worker_id LIMIT 1
        ), false) AS is_busy
    FROM taskqueue_worker worker
    WHERE worker.ended_at IS NULL AND worker.heartbeat_at > statement_timestamp() - :silence::interval
)
SELECT
    (SELECT count(*) FROM live),
    (SELECT count(*) FROM live WHERE knows AND NOT drains AND NOT fails),
    (SELECT count(*) FROM live WHERE knows AND drains),
    (SELECT count(*) FROM live WHERE knows AND NOT drains AND fails),
    (SELECT count(*) FROM live WHERE is_busy),
    CASE WHEN :most::int IS NOT NULL THEN (
        SELECT count(*) FROM (SELECT place.slot_pipeline FROM taskqueue_task place
        WHERE place.slot_pipeline >= :pipeline::text
        ORDER BY place.slot_pipeline, place.concurrency_key LIMIT :most::int) AS places WHERE slot_pipeline = :pipeline::text
    ) ELSE 0 END,
    CASE WHEN :most_per_key::int IS NOT NULL AND :concurrency_key::text <> '' THEN (
        SELECT count(*) FROM (SELECT FROM taskqueue_task place
        WHERE place.slot_pipeline IS NOT NULL AND (place.slot_pipeline, place.concurrency_key) >= (:pipeline::text,
            :concurrency_key::text)
            AND (place.slot_pipeline, place.concurrency_key) <= (:pipeline::text, :concurrency_key::text)
        ORDER BY place.slot_pipeline, place.concurrency_key
         LIMIT :most_per_key::int) AS places
    ) ELSE 0 END,
    used.theoretical_arrival_at, used.blocked_until, coalesce(used.block_reason, ''), statement_timestamp()
FROM (SELECT) AS one
LEFT JOIN taskqueue_ratelimitbucket used ON used.rate_id = :rate::text AND used.key = :rate_key::text;
