-- Tell what there is to do: tasks to claim, seconds until the next timer, sweeps to run, workers to recover. One round
-- trip when there is nothing.
-- Parameters: :pipelines text[], :codes text[], :passed text[], :limit int, :silence interval, :settling interval,
-- :lock_space bigint
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
), heads AS MATERIALIZED (
    SELECT name AS ready_queue, fingerprint, is_limited, stepped, going_at AS sort_at FROM known
        WHERE going_at IS NOT NULL
    UNION ALL
    SELECT name || '+', fingerprint, is_limited, stepped, fresh_at FROM known WHERE fresh_at IS NOT NULL
        AND NOT is_limited
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
)
SELECT
    (
        SELECT count(*) FROM (
            SELECT FROM heads UNION ALL SELECT FROM openings LIMIT :limit::int
        ) AS claimable
    ),
    (
        -- The next timer, and the next run of a schedule that this process has the code of. Also of paused pipelines,
        -- whose runs are skipped at their time.
        SELECT extract(epoch FROM least(
            (SELECT timer_at FROM taskqueue_task WHERE timer_at IS NOT NULL ORDER BY timer_at LIMIT 1),
            (SELECT min(next_at) FROM taskqueue_schedule WHERE pipeline_id = ANY (:pipelines::text[]))
        ) - statement_timestamp())::float
    ),
    (
        -- In this order: deadlines that have passed, completions to handle, events to route, concurrency keys that no
        -- claim has reached, history to prune, tasks that wait for a slot of a step.
        coalesce(
            (SELECT deadline_at <= statement_timestamp() FROM taskqueue_task
             WHERE deadline_at IS NOT NULL ORDER BY deadline_at LIMIT 1), false)
        OR coalesce((SELECT true FROM taskqueue_task WHERE completion_pending_at IS NOT NULL
            ORDER BY completion_pending_at LIMIT 1), false)
        OR coalesce((SELECT true FROM taskqueue_event WHERE routed_at IS NULL ORDER BY id LIMIT 1), false)
        OR EXISTS (SELECT FROM walked)
        OR coalesce((SELECT due_at <= statement_timestamp() FROM taskqueue_pruning WHERE name = ''), false)
        OR coalesce((SELECT true FROM taskqueue_task WHERE step_limit_queue IS NOT NULL ORDER BY step_limit_queue, id
            LIMIT 1), false)
        -- Starts by event whose code the process that routed the event did not have, but this one has.
        OR EXISTS (
            SELECT FROM unnest(:pipelines::text[]) AS known (name) CROSS JOIN LATERAL (
                SELECT FROM taskqueue_skip
                WHERE kind = 'deferred'
                    AND pipeline_id >= known.name COLLATE "C" AND pipeline_id <= known.name COLLATE "C"
                ORDER BY pipeline_id, id LIMIT 1
            ) AS deferred
        )
        -- Bulk operations.
        OR coalesce((SELECT true FROM taskqueue_bulkoperation WHERE finished_at IS NULL ORDER BY id LIMIT 1), false)
    ),
    ARRAY(
        -- Workers that ended while they claimed.
        SELECT ended.id FROM taskqueue_task task JOIN taskqueue_worker ended ON ended.id = task.worker_id
        WHERE task.status = 'running' AND ended.ended_at IS NOT NULL
        UNION
        SELECT worker.id FROM taskqueue_worker worker
        WHERE worker.ended_at IS NULL AND (
            worker.heartbeat_at < statement_timestamp() - :silence::interval
            -- Workers without their advisory lock. After a restart of the database they need a moment to take it again.
            OR coalesce(
                -- After a crash the checkpointer is younger than the server; some roles may not see it.
                (SELECT max(backend_start) FROM pg_stat_activity WHERE backend_type = 'checkpointer'),
                pg_postmaster_start_time()
            ) < statement_timestamp() - :settling::interval AND NOT EXISTS (
                SELECT FROM pg_locks
                WHERE locktype = 'advisory' AND classid::bigint = :lock_space::bigint
                AND objid::bigint = worker.id AND objsubid = 2
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            )
        )
    );
