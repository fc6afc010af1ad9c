-- Move the walk on over keys that are full: the next one begins at the first key with a free slot, or where this one
-- ended. Pipelines whose lock another process has are skipped: it walks itself.
-- Parameters: :pipelines text[], :codes text[], :passed text[]
WITH queues AS MATERIALIZED (
    SELECT code.name, code.fingerprint, (
        SELECT queue.sort_at FROM taskqueue_task queue
        WHERE queue.ready_queue = code.name COLLATE "C"
        ORDER BY queue.sort_at, queue.id LIMIT 1
    ) AS going_at, (
        SELECT queue.sort_at FROM taskqueue_task queue
        WHERE queue.ready_queue = (code.name || '+') COLLATE "C"
        ORDER BY queue.sort_at, queue.id LIMIT 1
    ) AS fresh_at, (
        SELECT true FROM taskqueue_task queue
        WHERE queue.blocked_queue = code.name COLLATE "C"
        ORDER BY queue.concurrency_key, queue.sort_at, queue.id LIMIT 1
    ) AS in_groups
    FROM unnest(:pipelines::text[], :codes::text[]) AS code (name, fingerprint)
), known AS MATERIALIZED (
    SELECT pipeline.name, queues.fingerprint, queues.going_at, queues.fresh_at,
        coalesce(concurrency.tasks, concurrency.declared_tasks) AS most,
        coalesce(concurrency.tasks_per_key, concurrency.declared_tasks_per_key) AS most_per_key,
        coalesce(
            concurrency.tasks, concurrency.declared_tasks, concurrency.tasks_per_key, concurrency.declared_tasks_per_key
        ) IS NOT NULL OR concurrency.rate_id IS NOT NULL OR queues.in_groups IS NOT NULL AS is_limited,
        queues.fresh_at IS NOT NULL OR queues.in_groups IS NOT NULL AS has_starts,
        coalesce(
            concurrency.steps, concurrency.declared_steps, concurrency.steps_per_key, concurrency.declared_steps_per_key
        ) IS NOT NULL AS stepped,
        concurrency.rate_id, concurrency.rate_is_keyed, coalesce(concurrency.last_served_key, '') AS last_served_key
    FROM queues
    JOIN taskqueue_pipeline pipeline ON pipeline.name = queues.name COLLATE "C" AND pipeline.paused_at IS NULL
    LEFT JOIN taskqueue_concurrencylimit concurrency ON concurrency.pipeline_id = pipeline.name
    WHERE queues.going_at IS NOT NULL OR queues.fresh_at IS NOT NULL OR queues.in_groups IS NOT NULL
), openings AS MATERIALIZED (
    SELECT known.name, opening.sort_at
    FROM known LEFT JOIN LATERAL (
        SELECT rounded.gap, rounded.gap * (coalesce(rate.burst, rate.declared_burst) - 1) AS slack,
            greatest(rounded.gap, interval '1 minute') AS ahead
        FROM taskqueue_ratelimit rate CROSS JOIN LATERAL (SELECT (
            ceil(extract(epoch FROM coalesce(rate.per, rate.declared_per)) * 1000000
                / coalesce(rate.count, rate.declared_count))::bigint * interval '1 microsecond'
        ) AS gap) AS rounded
        WHERE rate.name = known.rate_id
    ) AS spacing ON true CROSS JOIN LATERAL (
        WITH RECURSIVE turns AS (
            SELECT 0 AS half, known.last_served_key::text COLLATE "C" AS concurrency_key, NULL::timestamptz AS sort_at,
            0 AS turn,
                NULL::text COLLATE "C" AS former
            UNION ALL
            SELECT following.half, following.concurrency_key, following.sort_at, turns.turn + 1, turns.concurrency_key
            FROM turns CROSS JOIN LATERAL (
                SELECT turns.half, next.concurrency_key, next.sort_at FROM (
                    SELECT queue.concurrency_key::text COLLATE "C" AS concurrency_key, queue.sort_at
                    FROM taskqueue_task queue
                    WHERE queue.blocked_queue = known.name AND queue.concurrency_key > turns.concurrency_key
                    ORDER BY queue.concurrency_key, queue.sort_at, queue.id LIMIT 1
                ) AS next
                WHERE turns.half = 0 OR next.concurrency_key <= known.last_served_key
                UNION ALL
                SELECT 1, ''::text COLLATE "C", known.fresh_at WHERE turns.half = 0
                LIMIT 1
            ) AS following
            WHERE turns.turn < 16
        )
        SELECT turns.sort_at FROM turns CROSS JOIN LATERAL (
            SELECT CASE WHEN known.most_per_key IS NULL OR turns.concurrency_key = '' THEN 100 ELSE known.most_per_key - (
                SELECT count(*) FROM (
                    SELECT FROM taskqueue_task place
                    WHERE place.slot_pipeline = known.name AND place.concurrency_key = turns.concurrency_key
                    ORDER BY place.slot_pipeline, place.concurrency_key LIMIT known.most_per_key
                ) AS places
            ) END AS room
        ) AS key_limit
        WHERE turns.sort_at IS NOT NULL AND key_limit.room > 0 AND (known.rate_id IS NULL OR coalesce((
            SELECT greatest(used.theoretical_arrival_at - spacing.slack,
                used.blocked_until) <= statement_timestamp() + spacing.ahead
            FROM taskqueue_ratelimitbucket used
            WHERE used.rate_id = known.rate_id
                AND used.key = CASE WHEN known.rate_is_keyed THEN turns.concurrency_key ELSE '' END COLLATE "C"
        ), true)) LIMIT 1
    ) AS opening
    WHERE known.is_limited AND known.has_starts AND NOT (known.name = ANY (:passed::text[]))
        AND coalesce(known.most - (
        SELECT count(*) FROM (
            SELECT FROM taskqueue_task place WHERE place.slot_pipeline = known.name
            ORDER BY place.slot_pipeline, place.concurrency_key LIMIT known.most
        ) AS places
    ) > 0, true)
), walked AS MATERIALIZED (
    SELECT known.name FROM known CROSS JOIN LATERAL (
        WITH RECURSIVE turns AS (
            SELECT 0 AS half, known.last_served_key::text COLLATE "C" AS concurrency_key, NULL::timestamptz AS sort_at,
            0 AS turn,
                NULL::text COLLATE "C" AS former
            UNION ALL
            SELECT following.half, following.concurrency_key, following.sort_at, turns.turn + 1, turns.concurrency_key
            FROM turns CROSS JOIN LATERAL (
                SELECT turns.half, next.concurrency_key, next.sort_at FROM (
                    SELECT queue.concurrency_key::text COLLATE "C" AS concurrency_key, queue.sort_at
                    FROM taskqueue_task queue
                    WHERE queue.blocked_queue = known.name AND queue.concurrency_key > turns.concurrency_key
                    ORDER BY queue.concurrency_key, queue.sort_at, queue.id LIMIT 1
                ) AS next
                WHERE turns.half = 0 OR next.concurrency_key <= known.last_served_key
                UNION ALL
                SELECT 1, ''::text COLLATE "C", known.fresh_at WHERE turns.half = 0
                LIMIT 1
            ) AS following
            WHERE turns.turn < 16
        )
        SELECT FROM turns WHERE turns.turn = 16
    ) AS final
    WHERE known.is_limited AND known.has_starts AND NOT EXISTS (SELECT FROM openings WHERE openings.name = known.name)
        AND coalesce(known.most - (
        SELECT count(*) FROM (
            SELECT FROM taskqueue_task place WHERE place.slot_pipeline = known.name
            ORDER BY place.slot_pipeline, place.concurrency_key LIMIT known.most
        ) AS places
    ) > 0, true)
), further AS MATERIALIZED (
    SELECT walked.name, found.former, found.former IS NOT NULL AS has_room
    FROM walked JOIN known USING (name) LEFT JOIN LATERAL (
        SELECT rounded.gap, rounded.gap * (coalesce(rate.burst, rate.declared_burst) - 1) AS slack,
            greatest(rounded.gap, interval '1 minute') AS ahead
        FROM taskqueue_ratelimit rate CROSS JOIN LATERAL (SELECT (
            ceil(extract(epoch FROM coalesce(rate.per, rate.declared_per)) * 1000000
                / coalesce(rate.count, rate.declared_count))::bigint * interval '1 microsecond'
        ) AS gap) AS rounded
        WHERE rate.name = known.rate_id
    ) AS spacing ON true LEFT JOIN LATERAL (
        WITH RECURSIVE turns AS (
            SELECT 0 AS half, known.last_served_key::text COLLATE "C" AS concurrency_key, NULL::timestamptz AS sort_at,
            0 AS turn,
                NULL::text COLLATE "C" AS former
            UNION ALL
            SELECT following.half, following.concurrency_key, following.sort_at, turns.turn + 1, turns.concurrency_key
            FROM turns CROSS JOIN LATERAL (
                SELECT turns.half, next.concurrency_key, next.sort_at FROM (
                    SELECT queue.concurrency_key::text COLLATE "C" AS concurrency_key, queue.sort_at
                    FROM taskqueue_task queue
                    WHERE queue.blocked_queue = known.name AND queue.concurrency_key > turns.concurrency_key
                    ORDER BY queue.concurrency_key, queue.sort_at, queue.id LIMIT 1
                ) AS next
                WHERE turns.half = 0 OR next.concurrency_key <= known.last_served_key
                UNION ALL
                SELECT 1, ''::text COLLATE "C", known.fresh_at WHERE turns.half = 0
                LIMIT 1
            ) AS following
            WHERE turns.turn < 1000
        )
        SELECT turns.former FROM turns CROSS JOIN LATERAL (
            SELECT CASE WHEN known.most_per_key IS NULL OR turns.concurrency_key = '' THEN 100 ELSE known.most_per_key - (
                SELECT count(*) FROM (
                    SELECT FROM taskqueue_task place
                    WHERE place.slot_pipeline = known.name AND place.concurrency_key = turns.concurrency_key
                    ORDER BY place.slot_pipeline, place.concurrency_key LIMIT known.most_per_key
                ) AS places
            ) END AS room
        ) AS key_limit
        WHERE turns.sort_at IS NOT NULL AND key_limit.room > 0 AND (known.rate_id IS NULL OR coalesce((
            SELECT greatest(used.theoretical_arrival_at - spacing.slack,
                used.blocked_until) <= statement_timestamp() + spacing.ahead
            FROM taskqueue_ratelimitbucket used
            WHERE used.rate_id = known.rate_id
                AND used.key = CASE WHEN known.rate_is_keyed THEN turns.concurrency_key ELSE '' END COLLATE "C"
        ), true)) LIMIT 1
    ) AS found ON true
), final AS MATERIALIZED (
    SELECT known.name, last.concurrency_key FROM further JOIN known USING (name) CROSS JOIN LATERAL (
        WITH RECURSIVE turns AS (
            SELECT 0 AS half, known.last_served_key::text COLLATE "C" AS concurrency_key, NULL::timestamptz AS sort_at,
            0 AS turn,
                NULL::text COLLATE "C" AS former
            UNION ALL
            SELECT following.half, following.concurrency_key, following.sort_at, turns.turn + 1, turns.concurrency_key
            FROM turns CROSS JOIN LATERAL (
                SELECT turns.half, next.concurrency_key, next.sort_at FROM (
                    SELECT queue.concurrency_key::text COLLATE "C" AS concurrency_key, queue.sort_at
                    FROM taskqueue_task queue
                    WHERE queue.blocked_queue = known.name AND queue.concurrency_key > turns.concurrency_key
                    ORDER BY queue.concurrency_key, queue.sort_at, queue.id LIMIT 1
                ) AS next
                WHERE turns.half = 0 OR next.concurrency_key <= known.last_served_key
                UNION ALL
                SELECT 1, ''::text COLLATE "C", known.fresh_at WHERE turns.half = 0
                LIMIT 1
            ) AS following
            WHERE turns.turn < 1000
        )
        SELECT turns.concurrency_key FROM turns WHERE turns.turn = 1000
    ) AS last
    WHERE NOT further.has_room
), free AS MATERIALIZED (
    SELECT concurrency.pipeline_id FROM taskqueue_concurrencylimit concurrency JOIN further
        ON further.name = concurrency.pipeline_id
    ORDER BY concurrency.pipeline_id FOR NO KEY UPDATE OF concurrency SKIP LOCKED
)
UPDATE taskqueue_concurrencylimit concurrency SET last_served_key = coalesce(further.former, final.concurrency_key)
FROM free JOIN further ON further.name = free.pipeline_id LEFT JOIN final ON final.name = further.name
WHERE concurrency.pipeline_id = free.pipeline_id AND coalesce(further.former, final.concurrency_key) IS NOT NULL
RETURNING further.has_room;
