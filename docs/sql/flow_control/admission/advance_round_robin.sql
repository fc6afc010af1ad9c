-- Advance the round robin over full keys: the next claim begins at the first key with a free slot, or behind the last
-- key read. Pipelines whose limits another process has locked are skipped: it advances them itself.
-- Parameters: :pipelines text[], :codes text[], :strict_queues text[], :queues text[], :queues_excluded bool, :skipped
-- text[]
WITH queues AS MATERIALIZED (
    SELECT code.name, code.fingerprint, (
        SELECT queue.sort_at FROM taskqueue_task queue
        WHERE queue.ready_queue = code.name COLLATE "C"
        ORDER BY queue.sort_at, queue.id LIMIT 1
    ) AS ready_at, (
        SELECT queue.sort_at FROM taskqueue_task queue
        WHERE queue.ready_queue = (code.name || '+') COLLATE "C"
        ORDER BY queue.sort_at, queue.id LIMIT 1
    ) AS unstarted_at, (
        SELECT true FROM taskqueue_task queue
        WHERE queue.blocked_queue = code.name COLLATE "C"
        ORDER BY queue.concurrency_key, queue.sort_at, queue.id LIMIT 1
    ) AS has_keyed
    FROM unnest(:pipelines::text[], :codes::text[]) AS code (name, fingerprint)
), active AS MATERIALIZED (
    SELECT pipeline.name, queues.fingerprint, queues.ready_at, queues.unstarted_at,
        coalesce(concurrency.tasks, concurrency.declared_tasks) AS tasks,
        coalesce(concurrency.tasks_per_key, concurrency.declared_tasks_per_key) AS tasks_per_key,
        coalesce(
            concurrency.tasks, concurrency.declared_tasks, concurrency.tasks_per_key, concurrency.declared_tasks_per_key
        ) IS NOT NULL OR concurrency.rate_id IS NOT NULL OR queues.has_keyed IS NOT NULL AS is_limited,
        queues.unstarted_at IS NOT NULL OR queues.has_keyed IS NOT NULL AS has_starts,
        coalesce(
            concurrency.steps, concurrency.declared_steps, concurrency.steps_per_key, concurrency.declared_steps_per_key
        ) IS NOT NULL AS has_step_limit,
        -- Whether its only limit is that of its tasks, so that a task that ends can pass its slot on.
        coalesce(concurrency.tasks, concurrency.declared_tasks) IS NOT NULL
            AND coalesce(concurrency.tasks_per_key, concurrency.declared_tasks_per_key) IS NULL
            AND concurrency.rate_id IS NULL AND queues.has_keyed IS NULL AS passes_slot,
        concurrency.rate_id, concurrency.rate_is_keyed, coalesce(concurrency.last_served_key, '') AS last_served_key,
        coalesce(nullif(pipeline.queue, ''), pipeline.declared_queue) AS pipeline_queue,
        coalesce(array_position(:strict_queues::text[], coalesce(nullif(pipeline.queue, ''), pipeline.declared_queue)::text), 0) AS queue_rank
    FROM queues
    JOIN taskqueue_pipeline pipeline ON pipeline.name = queues.name COLLATE "C" AND pipeline.paused_at IS NULL
    LEFT JOIN taskqueue_concurrencylimit concurrency ON concurrency.pipeline_id = pipeline.name
    WHERE (queues.ready_at IS NOT NULL OR queues.unstarted_at IS NOT NULL OR queues.has_keyed IS NOT NULL)
        AND (coalesce(nullif(pipeline.queue, ''), pipeline.declared_queue) = ANY (:queues::text[])) <> :queues_excluded::bool
), admissible AS MATERIALIZED (
    SELECT active.name, active.queue_rank, first.sort_at
    FROM active LEFT JOIN LATERAL (
        SELECT rounded.spacing, rounded.spacing * (coalesce(rate.burst, rate.declared_burst) - 1) AS tolerance,
            greatest(rounded.spacing, interval '1 minute') AS horizon
        FROM taskqueue_ratelimit rate CROSS JOIN LATERAL (SELECT (
            ceil(extract(epoch FROM coalesce(rate.per, rate.declared_per)) * 1000000
                / coalesce(rate.count, rate.declared_count))::bigint * interval '1 microsecond'
        ) AS spacing) AS rounded
        WHERE rate.name = active.rate_id
    ) AS start_rate ON true CROSS JOIN LATERAL (
        WITH RECURSIVE keys AS (
            SELECT 0 AS lap, active.last_served_key::text COLLATE "C" AS concurrency_key, NULL::timestamptz AS sort_at,
                0 AS position, NULL::text COLLATE "C" AS previous_key
            UNION ALL
            SELECT following.lap, following.concurrency_key, following.sort_at, keys.position + 1, keys.concurrency_key
            FROM keys CROSS JOIN LATERAL (
                SELECT keys.lap, next.concurrency_key, next.sort_at FROM (
                    SELECT queue.concurrency_key::text COLLATE "C" AS concurrency_key, queue.sort_at
                    FROM taskqueue_task queue
                    WHERE queue.blocked_queue = active.name AND queue.concurrency_key > keys.concurrency_key
                    ORDER BY queue.concurrency_key, queue.sort_at, queue.id LIMIT 1
                ) AS next
                WHERE keys.lap = 0 OR next.concurrency_key <= active.last_served_key
                UNION ALL
                SELECT 1, ''::text COLLATE "C", active.unstarted_at WHERE keys.lap = 0
                LIMIT 1
            ) AS following
            WHERE keys.position < 16
        )
        SELECT keys.sort_at FROM keys CROSS JOIN LATERAL (
            SELECT CASE WHEN active.tasks_per_key IS NULL OR keys.concurrency_key = '' THEN 100 ELSE active.tasks_per_key - (
                SELECT count(*) FROM (
                    SELECT FROM taskqueue_task slot
                    WHERE slot.slot_pipeline = active.name AND slot.concurrency_key = keys.concurrency_key
                    ORDER BY slot.slot_pipeline, slot.concurrency_key LIMIT active.tasks_per_key
                ) AS slots
            ) END AS free_slots
        ) AS key_capacity
        WHERE keys.sort_at IS NOT NULL AND key_capacity.free_slots > 0 AND (active.rate_id IS NULL OR coalesce((
            SELECT greatest(used.theoretical_arrival_at - start_rate.tolerance,
                used.blocked_until) <= statement_timestamp() + start_rate.horizon
            FROM taskqueue_ratelimitbucket used
            WHERE used.rate_id = active.rate_id
                AND used.key = CASE WHEN active.rate_is_keyed THEN keys.concurrency_key ELSE '' END COLLATE "C"
        ), true)) LIMIT 1
    ) AS first
    WHERE active.is_limited AND active.has_starts AND NOT (active.name = ANY (:skipped::text[]))
        AND coalesce(active.tasks - (
        SELECT count(*) FROM (
            SELECT FROM taskqueue_task slot WHERE slot.slot_pipeline = active.name
            ORDER BY slot.slot_pipeline, slot.concurrency_key LIMIT active.tasks
        ) AS slots
    ) > 0, true)
), full_rounds AS MATERIALIZED (
    SELECT active.name FROM active CROSS JOIN LATERAL (
        WITH RECURSIVE keys AS (
            SELECT 0 AS lap, active.last_served_key::text COLLATE "C" AS concurrency_key, NULL::timestamptz AS sort_at,
                0 AS position, NULL::text COLLATE "C" AS previous_key
            UNION ALL
            SELECT following.lap, following.concurrency_key, following.sort_at, keys.position + 1, keys.concurrency_key
            FROM keys CROSS JOIN LATERAL (
                SELECT keys.lap, next.concurrency_key, next.sort_at FROM (
                    SELECT queue.concurrency_key::text COLLATE "C" AS concurrency_key, queue.sort_at
                    FROM taskqueue_task queue
                    WHERE queue.blocked_queue = active.name AND queue.concurrency_key > keys.concurrency_key
                    ORDER BY queue.concurrency_key, queue.sort_at, queue.id LIMIT 1
                ) AS next
                WHERE keys.lap = 0 OR next.concurrency_key <= active.last_served_key
                UNION ALL
                SELECT 1, ''::text COLLATE "C", active.unstarted_at WHERE keys.lap = 0
                LIMIT 1
            ) AS following
            WHERE keys.position < 16
        )
        SELECT FROM keys WHERE keys.position = 16
    ) AS final
    WHERE active.is_limited AND active.has_starts
        AND NOT EXISTS (SELECT FROM admissible WHERE admissible.name = active.name)
        AND coalesce(active.tasks - (
        SELECT count(*) FROM (
            SELECT FROM taskqueue_task slot WHERE slot.slot_pipeline = active.name
            ORDER BY slot.slot_pipeline, slot.concurrency_key LIMIT active.tasks
        ) AS slots
    ) > 0, true)
), next_round AS MATERIALIZED (
    SELECT full_rounds.name, found.previous_key, found.previous_key IS NOT NULL AS has_free_slot
    FROM full_rounds JOIN active USING (name) LEFT JOIN LATERAL (
        SELECT rounded.spacing, rounded.spacing * (coalesce(rate.burst, rate.declared_burst) - 1) AS tolerance,
            greatest(rounded.spacing, interval '1 minute') AS horizon
        FROM taskqueue_ratelimit rate CROSS JOIN LATERAL (SELECT (
            ceil(extract(epoch FROM coalesce(rate.per, rate.declared_per)) * 1000000
                / coalesce(rate.count, rate.declared_count))::bigint * interval '1 microsecond'
        ) AS spacing) AS rounded
        WHERE rate.name = active.rate_id
    ) AS start_rate ON true LEFT JOIN LATERAL (
        WITH RECURSIVE keys AS (
            SELECT 0 AS lap, active.last_served_key::text COLLATE "C" AS concurrency_key, NULL::timestamptz AS sort_at,
                0 AS position, NULL::text COLLATE "C" AS previous_key
            UNION ALL
            SELECT following.lap, following.concurrency_key, following.sort_at, keys.position + 1, keys.concurrency_key
            FROM keys CROSS JOIN LATERAL (
                SELECT keys.lap, next.concurrency_key, next.sort_at FROM (
                    SELECT queue.concurrency_key::text COLLATE "C" AS concurrency_key, queue.sort_at
                    FROM taskqueue_task queue
                    WHERE queue.blocked_queue = active.name AND queue.concurrency_key > keys.concurrency_key
                    ORDER BY queue.concurrency_key, queue.sort_at, queue.id LIMIT 1
                ) AS next
                WHERE keys.lap = 0 OR next.concurrency_key <= active.last_served_key
                UNION ALL
                SELECT 1, ''::text COLLATE "C", active.unstarted_at WHERE keys.lap = 0
                LIMIT 1
            ) AS following
            WHERE keys.position < 1000
        )
        SELECT keys.previous_key FROM keys CROSS JOIN LATERAL (
            SELECT CASE WHEN active.tasks_per_key IS NULL OR keys.concurrency_key = '' THEN 100 ELSE active.tasks_per_key - (
                SELECT count(*) FROM (
                    SELECT FROM taskqueue_task slot
                    WHERE slot.slot_pipeline = active.name AND slot.concurrency_key = keys.concurrency_key
                    ORDER BY slot.slot_pipeline, slot.concurrency_key LIMIT active.tasks_per_key
                ) AS slots
            ) END AS free_slots
        ) AS key_capacity
        WHERE keys.sort_at IS NOT NULL AND key_capacity.free_slots > 0 AND (active.rate_id IS NULL OR coalesce((
            SELECT greatest(used.theoretical_arrival_at - start_rate.tolerance,
                used.blocked_until) <= statement_timestamp() + start_rate.horizon
            FROM taskqueue_ratelimitbucket used
            WHERE used.rate_id = active.rate_id
                AND used.key = CASE WHEN active.rate_is_keyed THEN keys.concurrency_key ELSE '' END COLLATE "C"
        ), true)) LIMIT 1
    ) AS found ON true
), final AS MATERIALIZED (
    SELECT active.name, last.concurrency_key FROM next_round JOIN active USING (name) CROSS JOIN LATERAL (
        WITH RECURSIVE keys AS (
            SELECT 0 AS lap, active.last_served_key::text COLLATE "C" AS concurrency_key, NULL::timestamptz AS sort_at,
                0 AS position, NULL::text COLLATE "C" AS previous_key
            UNION ALL
            SELECT following.lap, following.concurrency_key, following.sort_at, keys.position + 1, keys.concurrency_key
            FROM keys CROSS JOIN LATERAL (
                SELECT keys.lap, next.concurrency_key, next.sort_at FROM (
                    SELECT queue.concurrency_key::text COLLATE "C" AS concurrency_key, queue.sort_at
                    FROM taskqueue_task queue
                    WHERE queue.blocked_queue = active.name AND queue.concurrency_key > keys.concurrency_key
                    ORDER BY queue.concurrency_key, queue.sort_at, queue.id LIMIT 1
                ) AS next
                WHERE keys.lap = 0 OR next.concurrency_key <= active.last_served_key
                UNION ALL
                SELECT 1, ''::text COLLATE "C", active.unstarted_at WHERE keys.lap = 0
                LIMIT 1
            ) AS following
            WHERE keys.position < 1000
        )
        SELECT keys.concurrency_key FROM keys WHERE keys.position = 1000
    ) AS last
    WHERE NOT next_round.has_free_slot
), locked AS MATERIALIZED (
    SELECT concurrency.pipeline_id FROM taskqueue_concurrencylimit concurrency JOIN next_round
        ON next_round.name = concurrency.pipeline_id
    ORDER BY concurrency.pipeline_id FOR NO KEY UPDATE OF concurrency SKIP LOCKED
)
UPDATE taskqueue_concurrencylimit concurrency
SET last_served_key = coalesce(next_round.previous_key, final.concurrency_key)
FROM locked JOIN next_round ON next_round.name = locked.pipeline_id LEFT JOIN final ON final.name = next_round.name
WHERE concurrency.pipeline_id = locked.pipeline_id
    AND coalesce(next_round.previous_key, final.concurrency_key) IS NOT NULL
RETURNING next_round.has_free_slot;
