-- Give slots to the tasks that may start. Under the lock of LOCK_CONCURRENCY_LIMIT, in a statement after it, to see
-- what the last holder of the lock admitted. It waits for no task: a locked one is skipped. The limits of 100 are for
-- the planner, as in a claim. A task that gets the last slot, of all or of its key, when another task ends, was blocked
-- until now, and so was one that gets a later time; a task that a free worker admits was queued.
-- Parameters: :pipelines text[], :codes text[], :by_end boolean, :freed text, :most int, :limited text
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
), starts AS MATERIALIZED (
    SELECT start.id, start.concurrency_key, start.turn, known.rate_id, spacing.gap, spacing.slack, spacing.ahead,
        :by_end::boolean AND (
            places_left.number <= 1 OR start.room <= 1 AND start.concurrency_key = :freed::text
        ) IS TRUE AS freed,
        CASE WHEN known.rate_is_keyed THEN start.concurrency_key ELSE '' END AS rate_key
    FROM known LEFT JOIN LATERAL (
        SELECT rounded.gap, rounded.gap * (coalesce(rate.burst, rate.declared_burst) - 1) AS slack,
            greatest(rounded.gap, interval '1 minute') AS ahead
        FROM taskqueue_ratelimit rate CROSS JOIN LATERAL (SELECT (
            ceil(extract(epoch FROM coalesce(rate.per, rate.declared_per)) * 1000000
                / coalesce(rate.count, rate.declared_count))::bigint * interval '1 microsecond'
        ) AS gap) AS rounded
        WHERE rate.name = known.rate_id
    ) AS spacing ON true CROSS JOIN LATERAL (SELECT known.most - (
        SELECT count(*) FROM (
            SELECT FROM taskqueue_task place WHERE place.slot_pipeline = known.name
            ORDER BY place.slot_pipeline, place.concurrency_key LIMIT known.most
        ) AS places
    ) AS number OFFSET 0) AS places_left
    CROSS JOIN LATERAL (SELECT * FROM (
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
            WHERE turns.turn < 64
        ), open AS MATERIALIZED (
            SELECT * FROM (
                SELECT turns.concurrency_key, turns.turn, turns.room FROM (
                    SELECT turns.concurrency_key, turns.turn, key_limit.room FROM turns
                    CROSS JOIN LATERAL (
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
                    ), true))
                    UNION ALL
                    SELECT turns.concurrency_key, turns.turn, key_limit.room FROM (
                        SELECT :freed::text COLLATE "C" AS concurrency_key, NULL::int AS turn, (
                            SELECT queue.sort_at FROM taskqueue_task queue
                            WHERE queue.blocked_queue = known.name AND queue.concurrency_key = :freed::text COLLATE "C"
                            ORDER BY queue.sort_at, queue.id LIMIT 1
                        ) AS sort_at
                        WHERE :freed::text <> '' AND NOT EXISTS (
                            SELECT FROM turns WHERE turns.concurrency_key = :freed::text COLLATE "C" AND turns.turn > 0
                        )
                    ) AS turns
                    CROSS JOIN LATERAL (
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
                    ), true))
                ) AS turns LIMIT CASE WHEN known.rate_id IS NULL THEN :most::int ELSE 100 END
            ) AS open LIMIT 100
        ), heads AS (
            SELECT head.id, open.concurrency_key, open.turn, open.room,
                row_number() OVER (PARTITION BY open.concurrency_key ORDER BY head.sort_at, head.id) AS number
            FROM open CROSS JOIN LATERAL (
                (SELECT free.id, free.sort_at FROM (
                    SELECT queue.id, queue.sort_at FROM taskqueue_task queue
                    WHERE open.concurrency_key <> '' AND queue.blocked_queue = known.name
                        AND queue.concurrency_key = open.concurrency_key
                    ORDER BY queue.sort_at, queue.id
                    LIMIT 100
                    FOR NO KEY UPDATE SKIP LOCKED
                ) AS free LIMIT least(open.room, ceil((CASE WHEN known.rate_id IS NULL THEN :most::int ELSE 100 END)::float / (SELECT count(*) FROM open))))
                UNION ALL
                (SELECT free.id, free.sort_at FROM (
                    SELECT queue.id, queue.sort_at FROM taskqueue_task queue
                    WHERE open.concurrency_key = '' AND queue.ready_queue = known.name || '+'
                    ORDER BY queue.sort_at, queue.id
                    LIMIT 100
                    FOR NO KEY UPDATE SKIP LOCKED
                ) AS free LIMIT least(open.room, ceil((CASE WHEN known.rate_id IS NULL THEN :most::int ELSE 100 END)::float / (SELECT count(*) FROM open))))
            ) AS head
        )
        SELECT heads.id, heads.concurrency_key, heads.turn, heads.room FROM heads
        ORDER BY heads.number, heads.turn NULLS LAST
        LIMIT least(coalesce(places_left.number, 100), CASE WHEN known.rate_id IS NULL THEN :most::int ELSE 100 END)
    ) AS start LIMIT 100) AS start
    WHERE known.is_limited
), numbered AS (
    SELECT starts.*, row_number() OVER (PARTITION BY rate_key ORDER BY turn NULLS LAST, id) AS number FROM starts
), booked AS MATERIALIZED (
    -- Only tasks whose time comes soon. The others get theirs later, so that a changed rate counts at once.
    SELECT numbered.* FROM numbered LEFT JOIN taskqueue_ratelimitbucket used
        ON used.rate_id = numbered.rate_id AND used.key = numbered.rate_key COLLATE "C"
    WHERE numbered.rate_id IS NULL
        OR greatest(used.theoretical_arrival_at - slack, used.blocked_until, statement_timestamp()) + (number - 1) * gap
            - greatest(slack, interval '0') <= statement_timestamp() + ahead
), bookings AS MATERIALIZED (
    SELECT rate_id, rate_key, gap, slack, count(*) AS number FROM booked
    WHERE rate_id IS NOT NULL GROUP BY rate_id, rate_key, gap, slack
), used AS (
    INSERT INTO taskqueue_ratelimitbucket AS used (rate_id, key, theoretical_arrival_at, admitted, last_admitted_at,
        block_reason)
    SELECT rate_id, rate_key, statement_timestamp() + number * gap, number, statement_timestamp(), '' FROM bookings
    ON CONFLICT (rate_id, key) DO UPDATE
    SET theoretical_arrival_at = greatest(
            used.theoretical_arrival_at, statement_timestamp(),
            used.blocked_until + (SELECT slack FROM bookings WHERE rate_key = EXCLUDED.key)
        ) + EXCLUDED.admitted * (SELECT gap FROM bookings WHERE rate_key = EXCLUDED.key),
        admitted = used.admitted + EXCLUDED.admitted, last_admitted_at = statement_timestamp()
    RETURNING used.key, used.theoretical_arrival_at
), timed AS (
    SELECT booked.id, booked.rate_id, booked.freed,
        used.theoretical_arrival_at
            - (bookings.number - booked.number + 1) * bookings.gap - bookings.slack AS allowed_at
    FROM booked
    LEFT JOIN bookings ON bookings.rate_key = booked.rate_key
    LEFT JOIN used ON used.key = booked.rate_key
), admitted AS (
    -- Locked above, so still queued. A condition on the status would lead to the index of statuses.
    UPDATE taskqueue_task task
    SET slot_acquired_at = statement_timestamp(),
        status = CASE WHEN timed.allowed_at > statement_timestamp() THEN 'waiting' ELSE 'queued' END,
        -- Until START lets it pass: a late start, because workers were busy, must not come together with the next one.
        blocked_on = coalesce(timed.rate_id, ''),
        due_at = greatest(timed.allowed_at, task.due_at),
        sort_at = greatest(timed.allowed_at, task.due_at) - make_interval(secs => task.priority),
        blocked_seconds = CASE WHEN judged.was_held THEN coalesce(task.blocked_seconds, 0)
            + extract(epoch FROM statement_timestamp() - coalesce(task.since, task.created_at))::float
            ELSE task.blocked_seconds END,
        since = CASE WHEN judged.was_held THEN statement_timestamp() ELSE task.since END
    FROM timed CROSS JOIN LATERAL (
        SELECT timed.freed OR coalesce(timed.allowed_at > statement_timestamp(), false) AS was_held
    ) AS judged
    WHERE task.id = timed.id AND task.id = ANY (ARRAY(SELECT id FROM timed))
    RETURNING task.id
), final AS MATERIALIZED (
    -- No key has room as far as the walk went: the next one goes on from there.
    SELECT final.concurrency_key FROM known CROSS JOIN LATERAL (
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
            WHERE turns.turn < 64
        )
        SELECT turns.concurrency_key FROM turns WHERE turns.turn = 64
    ) AS final
    WHERE known.is_limited AND NOT EXISTS (SELECT FROM starts WHERE turn IS NOT NULL)
), turned AS (
    UPDATE taskqueue_concurrencylimit concurrency SET last_served_key = turn.concurrency_key
    FROM (
        (SELECT starts.concurrency_key FROM starts WHERE starts.turn IS NOT NULL ORDER BY starts.turn DESC LIMIT 1)
        UNION ALL
        SELECT final.concurrency_key FROM final
        LIMIT 1
    ) AS turn
    WHERE concurrency.pipeline_id = :limited::text
)
SELECT id FROM admitted;
