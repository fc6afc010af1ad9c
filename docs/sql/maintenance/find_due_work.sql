-- Find what is due: tasks to claim, seconds until the next timer, whether sweeps have work, workers to recover. One
-- round trip.
-- Parameters: :pipelines text[], :codes text[], :strict_queues text[], :queues text[], :queues_excluded bool, :skipped
-- text[], :limit int, :heartbeat_timeout interval, :startup_grace interval, :lock_space bigint
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
), step_queue_heads AS MATERIALIZED (
    WITH RECURSIVE heads AS (
        (SELECT queue.ready_queue, queue.step_queue, queue.pipeline_id, queue.sort_at FROM taskqueue_task queue
            WHERE queue.ready_queue > '@' AND queue.ready_queue < 'A'
            ORDER BY queue.ready_queue, queue.sort_at, queue.id LIMIT 1)
        UNION ALL
        SELECT following.* FROM heads CROSS JOIN LATERAL (
            SELECT queue.ready_queue, queue.step_queue, queue.pipeline_id, queue.sort_at FROM taskqueue_task queue
            WHERE queue.ready_queue > CASE WHEN (heads.step_queue = ANY (:queues::text[])) <> :queues_excluded::bool THEN heads.ready_queue ELSE '@' || heads.step_queue || '0' END AND queue.ready_queue < 'A'
            ORDER BY queue.ready_queue, queue.sort_at, queue.id LIMIT 1
        ) AS following
    )
    SELECT heads.ready_queue, code.fingerprint, coalesce(
            concurrency.tasks, concurrency.declared_tasks, concurrency.tasks_per_key, concurrency.declared_tasks_per_key
        ) IS NOT NULL OR concurrency.rate_id IS NOT NULL AS is_limited, coalesce(
            concurrency.steps, concurrency.declared_steps, concurrency.steps_per_key, concurrency.declared_steps_per_key
        ) IS NOT NULL AS has_step_limit,
        -- Its end goes through the admission of its pipeline, if that has a limit.
        false AS passes_slot, heads.sort_at, heads.step_queue AS from_queue, coalesce(array_position(:strict_queues::text[], heads.step_queue::text), 0) AS queue_rank,
        coalesce(nullif(pipeline.queue, ''), pipeline.declared_queue) AS pipeline_queue
    FROM heads
    JOIN unnest(:pipelines::text[], :codes::text[]) AS code (name, fingerprint)
        ON code.name = heads.pipeline_id COLLATE "C"
    JOIN taskqueue_pipeline pipeline ON pipeline.name = heads.pipeline_id AND pipeline.paused_at IS NULL
    LEFT JOIN taskqueue_concurrencylimit concurrency ON concurrency.pipeline_id = pipeline.name
    WHERE (heads.step_queue = ANY (:queues::text[])) <> :queues_excluded::bool
), claimable AS MATERIALIZED (
    SELECT name AS ready_queue, fingerprint, is_limited, has_step_limit, passes_slot, ready_at AS sort_at,
        pipeline_queue AS from_queue, queue_rank, pipeline_queue FROM active WHERE ready_at IS NOT NULL
    UNION ALL
    SELECT name || '+', fingerprint, is_limited, has_step_limit, passes_slot, unstarted_at, pipeline_queue, queue_rank,
        pipeline_queue FROM active WHERE unstarted_at IS NOT NULL AND NOT is_limited
    UNION ALL
    SELECT * FROM step_queue_heads
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
)
SELECT
    (
        SELECT count(*) FROM (
            SELECT FROM claimable UNION ALL SELECT FROM admissible LIMIT :limit::int
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
        OR EXISTS (SELECT FROM full_rounds)
        OR coalesce((SELECT due_at <= statement_timestamp() FROM taskqueue_pruning WHERE name = ''), false)
        OR coalesce((SELECT true FROM taskqueue_task WHERE step_limit_queue IS NOT NULL ORDER BY step_limit_queue, id
            LIMIT 1), false)
        -- Starts by event whose code the process that routed the event did not have, but this one has.
        OR EXISTS (
            SELECT FROM unnest(:pipelines::text[]) AS deployed (name) CROSS JOIN LATERAL (
                SELECT FROM taskqueue_skip
                WHERE kind = 'deferred'
                    AND pipeline_id >= deployed.name COLLATE "C" AND pipeline_id <= deployed.name COLLATE "C"
                ORDER BY pipeline_id, id LIMIT 1
            ) AS deferred
        )
        -- Bulk operations.
        OR coalesce((SELECT true FROM taskqueue_bulkoperation WHERE finished_at IS NULL ORDER BY id LIMIT 1), false)
    ),
    ARRAY(
        -- Workers that were ended while they claimed.
        SELECT ended.id FROM taskqueue_task task JOIN taskqueue_worker ended ON ended.id = task.worker_id
        WHERE task.status = 'running' AND task.started_at IS NOT NULL AND ended.ended_at IS NOT NULL
        UNION
        SELECT worker.id FROM taskqueue_worker worker
        WHERE worker.ended_at IS NULL AND (
            worker.heartbeat_at < statement_timestamp() - :heartbeat_timeout::interval
            -- Workers without their advisory lock. After a restart of the database they need a moment to reacquire it.
            OR coalesce(
                -- After a crash the checkpointer is younger than the server; some roles may not see it.
                (SELECT max(backend_start) FROM pg_stat_activity WHERE backend_type = 'checkpointer'),
                pg_postmaster_start_time()
            ) < statement_timestamp() - :startup_grace::interval AND NOT EXISTS (
                SELECT FROM pg_locks
                WHERE locktype = 'advisory' AND classid::bigint = :lock_space::bigint
                AND objid::bigint = worker.id AND objsubid = 2
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            )
        )
    );
