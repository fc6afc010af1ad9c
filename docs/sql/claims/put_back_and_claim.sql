-- Give a task back to the queue. It keeps its position: it was interrupted, not postponed. Then claim the next tasks.
-- Parameters: :task uuid, :worker int, :lease int, :pipelines text[], :codes text[], :passed text[], :claimant int,
-- :most int, :kept jsonb
WITH held AS (
    SELECT id FROM taskqueue_task
    WHERE id = :task::uuid AND worker_id = :worker::int AND lease = :lease::int AND status = 'running'
    FOR NO KEY UPDATE
), settled AS (
    UPDATE taskqueue_task task SET status = 'queued' FROM held WHERE task.id = held.id RETURNING task.id
), queues AS MATERIALIZED (
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
), drained AS MATERIALIZED (
    -- A draining worker takes nothing. Asked here, so that it holds from the next claim on.
    SELECT FROM taskqueue_worker WHERE id = :claimant::int AND draining_at IS NOT NULL
), door AS MATERIALIZED (
    -- A blocked task would come first: nothing is claimed, since another statement has to lock its limits before.
    SELECT openings.name FROM openings
    WHERE openings.sort_at < coalesce((SELECT min(heads.sort_at) FROM heads), 'infinity')
        AND NOT EXISTS (SELECT FROM drained)
    ORDER BY openings.sort_at LIMIT 1
), head AS MATERIALIZED (
    SELECT id, sort_at, fingerprint, is_limited, stepped FROM (
        SELECT ready.id, ready.sort_at, best.fingerprint, best.is_limited, best.stepped
        FROM (
            SELECT heads.ready_queue, heads.fingerprint, heads.is_limited, heads.stepped FROM heads
            WHERE NOT EXISTS (SELECT FROM door) AND NOT EXISTS (SELECT FROM drained) ORDER BY heads.sort_at
        ) AS best
        CROSS JOIN LATERAL (
            SELECT queue.id, queue.sort_at FROM taskqueue_task queue
            WHERE queue.ready_queue = best.ready_queue
            ORDER BY queue.sort_at, queue.id
            LIMIT 100
            FOR NO KEY UPDATE SKIP LOCKED
        ) AS ready
        LIMIT :most::int
    ) AS first LIMIT 100
), claimed AS (
    UPDATE taskqueue_task task
    SET status = 'running', worker_id = :claimant::int, lease = task.lease + 1,
        started_at = coalesce(task.started_at, statement_timestamp()),
        slot_acquired_at = coalesce(task.slot_acquired_at, statement_timestamp()),
        finish_by = coalesce(task.finish_by, statement_timestamp() + task.finish_within),
        code_began = CASE
            WHEN task.code_began <> '' THEN task.code_began
            ELSE coalesce(:kept::jsonb #>> ARRAY[task.pipeline_id, task.version], head.fingerprint)
        END
    FROM head
    WHERE task.id = head.id AND task.id = ANY (ARRAY(SELECT id FROM head))
        -- A task that was claimed before comes alone or first: if it kills its worker, others are lost once at most.
        AND (task.lease = 0 OR task.id = (SELECT id FROM head ORDER BY sort_at, id LIMIT 1))
    RETURNING task.id, task.pipeline_id, task.lease, task.payload::text, task.labels::text, task.key, task.failures,
        task.version, task.parallel_step, task.depth, task.notify_completion, task.concurrency_key, head.is_limited,
        head.stepped,
        CASE WHEN task.parallel_step = '' THEN task.cron_at ELSE (
            SELECT parent.cron_at FROM taskqueue_task parent WHERE parent.id = task.parent_id
        ) END AS cron_at,
        task.parent_id, task.parent_key, task.cancel_grace, task.sort_at
)
SELECT claimed.*, (SELECT name FROM door) AS gate
FROM (SELECT) AS one LEFT JOIN claimed ON true
ORDER BY claimed.sort_at, claimed.id;
