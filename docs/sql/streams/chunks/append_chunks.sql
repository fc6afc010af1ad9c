-- Add chunks under the leases of their tasks; once the limit is reached a last one without a text. Returns those whose
-- lease is still valid and which were not added.
-- Parameters: :tasks uuid[], :workers int[], :leases int[], :targets uuid[], :steps text[], :attempts int[], :texts
-- text[], :are_secret boolean[], :limit bigint
WITH written AS MATERIALIZED (
    SELECT * FROM unnest(
        :tasks::uuid[], :workers::int[], :leases::int[], :targets::uuid[], :steps::text[],
        :attempts::int[], :texts::text[], :are_secret::boolean[]
    ) WITH ORDINALITY AS written (id, worker, lease, target, step, attempt, text, is_secret, number)
    ORDER BY id
), leased AS MATERIALIZED (
    SELECT written.* FROM written CROSS JOIN LATERAL (
        SELECT FROM taskqueue_task task
        WHERE task.id = written.id AND task.worker_id = written.worker AND task.lease = written.lease
            AND task.status = 'running'
        FOR NO KEY UPDATE
    ) AS held
), in_order AS MATERIALIZED (
    -- Parallel steps write for their parent: its chunks become visible in the order of their ids.
    SELECT leased.*, pg_advisory_xact_lock(1952542322, hashtext(target::text))
    FROM (SELECT * FROM leased ORDER BY target) AS leased
), appended AS (
    INSERT INTO taskqueue_chunk AS chunk (task_id, step, attempt, lease, text, is_secret, is_cut, total)
    SELECT target, step, attempt, lease, CASE WHEN is_full THEN '' ELSE text END, is_secret, is_full,
        before.total + octet_length(text)
    FROM in_order CROSS JOIN LATERAL (
        SELECT coalesce(max(last.total), 0) AS total, coalesce(max(last.total), 0) >= :limit::bigint AS is_full,
            coalesce(bool_or(last.is_cut), false) AS is_cut
        FROM (
            -- The range, which is one task, is written so that only the index of tasks has the order.
            SELECT total, is_cut FROM taskqueue_chunk WHERE task_id >= target AND task_id <= target
            ORDER BY task_id DESC, id DESC LIMIT 1
        ) AS last
    ) AS before
    WHERE NOT before.is_cut
    ORDER BY number
    RETURNING (
        SELECT pg_notify('taskqueue_stream', watch.task_id::text) FROM taskqueue_streamwatch watch
        WHERE watch.task_id = chunk.task_id
    )
)
SELECT number FROM written
WHERE NOT EXISTS (SELECT FROM leased WHERE leased.number = written.number) AND EXISTS (
    SELECT FROM taskqueue_task task
    WHERE task.id = written.id AND task.worker_id = written.worker AND task.lease = written.lease
        AND task.status = 'running'
);
