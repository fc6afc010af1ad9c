-- End a task that failed outside of its steps, and record the attempt. Pass its slot on to the next task of its
-- pipeline.
-- Parameters: :task uuid, :worker int, :lease int, :key text, :name text, :step_status text, :input jsonb, :input_hash
-- text, :step_error jsonb, :elapsed interval, :outcome text, :error_type text, :error_message text, :traceback text,
-- :logs jsonb, :error jsonb, :code text, :drift jsonb, :pipelines text[], :codes text[], :strict_queues text[], :queues
-- text[], :queues_excluded bool, :slot_of text, :skipped text[], :claiming_worker int, :most int, :kept jsonb
WITH leased AS (
    SELECT id FROM taskqueue_task
    WHERE id = :task::uuid AND worker_id = :worker::int AND lease = :lease::int AND status = 'running'
    FOR NO KEY UPDATE
), step AS (
    INSERT INTO taskqueue_step AS existing (
        task_id, key, name, status, failures, input, input_hash, error, started_at, finished_at
    )
    SELECT
        leased.id, :key::text, :name::text, :step_status::text, 1, :input::jsonb, :input_hash::text,
        :step_error::jsonb, statement_timestamp() - :elapsed::interval, statement_timestamp()
    FROM leased
    WHERE :key::text <> ''
    ON CONFLICT (task_id, key) DO UPDATE
    SET status = EXCLUDED.status, failures = existing.failures + 1, input = EXCLUDED.input,
        input_hash = EXCLUDED.input_hash, error = EXCLUDED.error, until = NULL,
        started_at = EXCLUDED.started_at, finished_at = EXCLUDED.finished_at
    WHERE existing.status <> 'succeeded'
    RETURNING id
), written AS (
    -- A commit that was answered with an error may have happened: then the step has succeeded, and nothing failed.
    SELECT id FROM leased WHERE :key::text = '' OR EXISTS (SELECT FROM step)
), attempt AS (
    INSERT INTO taskqueue_attempt (
        task_id, step_key, number, outcome, error_type, error_message, traceback, logs, worker_id, lease, started_at,
        finished_at
    )
    SELECT
        leased.id, :key::text,
        (SELECT coalesce(max(number), 0) + 1 FROM taskqueue_attempt
         WHERE task_id = leased.id AND step_key = :key::text),
        :outcome::text, :error_type::text, :error_message::text, :traceback::text, :logs::jsonb,
        :worker::int, :lease::int, statement_timestamp() - :elapsed::interval, statement_timestamp()
    FROM written JOIN leased USING (id)
), settled AS (
    UPDATE taskqueue_task task
    SET status = 'failed', error = :error::jsonb, failures = task.failures + 1, finished_at = statement_timestamp(),
        code_ended = :code::text, drift = coalesce(:drift::jsonb, task.drift)
    FROM leased
    WHERE task.id = leased.id AND task.id = :task::uuid
    RETURNING task.id
), queues AS MATERIALIZED (
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
), passed_slot AS MATERIALIZED (
    SELECT active.name, used.number = active.tasks AS is_full
    FROM active CROSS JOIN LATERAL (
        SELECT (
            SELECT count(*) FROM (
                SELECT FROM taskqueue_task slot WHERE slot.slot_pipeline = active.name
                ORDER BY slot.slot_pipeline, slot.concurrency_key LIMIT active.tasks + 1
            ) AS slots
        ) AS number OFFSET 0
    ) AS used
    WHERE active.passes_slot AND active.name = :slot_of::text AND used.number <= active.tasks
        AND EXISTS (SELECT FROM settled)
        AND active.name = (SELECT ended.slot_pipeline FROM taskqueue_task ended WHERE ended.id = :task::uuid)
), claimable AS MATERIALIZED (
    SELECT name AS ready_queue, fingerprint, is_limited, has_step_limit, passes_slot, ready_at AS sort_at,
        pipeline_queue AS from_queue, queue_rank, pipeline_queue FROM active WHERE ready_at IS NOT NULL
    UNION ALL
    SELECT name || '+', fingerprint, is_limited, has_step_limit, passes_slot, unstarted_at, pipeline_queue, queue_rank,
        pipeline_queue FROM active WHERE unstarted_at IS NOT NULL AND (NOT is_limited OR name = (SELECT name FROM passed_slot))
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
), draining AS MATERIALIZED (
    -- A draining worker claims nothing. Read here, so that it counts from the next claim on.
    SELECT FROM taskqueue_worker WHERE id = :claiming_worker::int AND draining_at IS NOT NULL
), to_admit AS MATERIALIZED (
    -- A blocked task would come first: nothing is claimed, since another statement has to lock its limits before.
    SELECT admissible.name FROM admissible
    WHERE ((admissible.queue_rank, admissible.sort_at) < (
            SELECT claimable.queue_rank, claimable.sort_at FROM claimable
            ORDER BY claimable.queue_rank, claimable.sort_at LIMIT 1
        )) IS NOT FALSE AND NOT EXISTS (SELECT FROM draining)
    ORDER BY admissible.queue_rank, admissible.sort_at LIMIT 1
), next_task AS MATERIALIZED (
    SELECT * FROM (
        SELECT ready.id, ready.sort_at, oldest.fingerprint, oldest.is_limited, oldest.has_step_limit,
            oldest.passes_slot, oldest.from_queue, oldest.queue_rank, oldest.pipeline_queue
        FROM (
            SELECT claimable.* FROM claimable
            WHERE NOT EXISTS (SELECT FROM to_admit) AND NOT EXISTS (SELECT FROM draining)
            ORDER BY claimable.queue_rank, claimable.sort_at
        ) AS oldest
        CROSS JOIN LATERAL (
            SELECT queue.id, queue.sort_at FROM taskqueue_task queue
            WHERE queue.ready_queue = oldest.ready_queue
            ORDER BY queue.sort_at, queue.id
            LIMIT (SELECT 100)
            FOR NO KEY UPDATE SKIP LOCKED
        ) AS ready
        LIMIT :most::int
    ) AS first LIMIT 100
), claimed AS (
    UPDATE taskqueue_task task
    SET status = 'running', worker_id = :claiming_worker::int, lease = task.lease + 1,
        started_at = coalesce(task.started_at, statement_timestamp()),
        slot_acquired_at = coalesce(task.slot_acquired_at, statement_timestamp()),
        finish_by = coalesce(task.finish_by, statement_timestamp() + task.finish_within),
        blocked_seconds = CASE WHEN task.slot_acquired_at IS NULL
            AND EXISTS (SELECT FROM passed_slot WHERE is_full AND name = task.pipeline_id) THEN coalesce(task.blocked_seconds, 0)
            + extract(epoch FROM statement_timestamp() - coalesce(task.since, task.created_at))::float
            ELSE task.blocked_seconds END,
        since = CASE WHEN task.slot_acquired_at IS NULL
            AND EXISTS (SELECT FROM passed_slot WHERE is_full AND name = task.pipeline_id) THEN statement_timestamp() ELSE task.since END,
        code_began = CASE
            WHEN task.code_began <> '' THEN task.code_began
            ELSE coalesce(:kept::jsonb #>> ARRAY[task.pipeline_id, task.version], next_task.fingerprint)
        END
    FROM next_task
    WHERE task.id = next_task.id AND task.id = ANY (ARRAY(SELECT id FROM next_task))
        -- A task that was claimed before comes alone or first: if it kills its worker, others are lost once at most.
        AND (task.lease = 0 OR task.id = (SELECT id FROM next_task ORDER BY queue_rank, sort_at, id LIMIT 1))
    RETURNING task.id, task.pipeline_id, task.lease, task.payload::text, task.labels::text, task.key,
        task.failures, task.version, task.parallel_step, task.depth,
        task.notify_completion OR EXISTS (
            SELECT FROM taskqueue_subscription subscription WHERE subscription.disabled_at IS NULL
                AND task.labels @> subscription.labels AND taskqueue_covers(subscription.pipelines, task.pipeline_id)
        ) AS notify_completion, task.concurrency_key,
        next_task.is_limited, next_task.has_step_limit, next_task.passes_slot,
        CASE WHEN task.parallel_step = '' THEN task.cron_at ELSE (
            SELECT parent.cron_at FROM taskqueue_task parent WHERE parent.id = task.parent_id
        ) END AS cron_at,
        task.parent_id, task.parent_key, task.cancel_grace, next_task.from_queue, next_task.pipeline_queue,
        task.parallel_limit, task.traceparent, next_task.queue_rank, task.sort_at
)
SELECT claimed.*, (SELECT name FROM to_admit) AS to_admit
FROM (SELECT) AS one LEFT JOIN claimed ON true
ORDER BY claimed.queue_rank, claimed.sort_at, claimed.id;
