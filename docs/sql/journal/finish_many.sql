-- End several tasks that have succeeded, each with its last step if that is to be recorded. They are locked in one
-- order, so that two processes never wait for each other; a task whose lease is gone is left out.
-- Parameters: :tasks uuid[], :workers int[], :leases int[], :results text[], :fingerprints text[], :drifts text[],
-- :keys text[], :names text[], :kinds text[], :inputs text[], :input_hashes text[], :outputs text[], :logs text[],
-- :elapsed interval[]
WITH ends AS MATERIALIZED (
    SELECT * FROM unnest(
        :tasks::uuid[], :workers::int[], :leases::int[], :results::text[], :fingerprints::text[],
        :drifts::text[], :keys::text[], :names::text[], :kinds::text[], :inputs::text[],
        :input_hashes::text[], :outputs::text[], :logs::text[], :elapsed::interval[]
    ) AS ends (
        task_id, worker, lease, result, code, drift, key, name, kind, input, input_hash, output, logs, elapsed
    )
    ORDER BY task_id
), leased AS MATERIALIZED (
    SELECT held.id, ends.* FROM ends CROSS JOIN LATERAL (
        SELECT task.id FROM taskqueue_task task
        WHERE task.id = ends.task_id AND task.worker_id = ends.worker AND task.lease = ends.lease
            AND task.status = 'running'
        FOR NO KEY UPDATE
    ) AS held
), step AS (
    INSERT INTO taskqueue_step AS existing (task_id, key, name, kind, status, failures, input, input_hash, output, logs, started_at, finished_at)
    SELECT
        leased.id, leased.key, leased.name, leased.kind, 'succeeded', 0, leased.input::jsonb, leased.input_hash,
        leased.output::jsonb, leased.logs::jsonb, statement_timestamp() - leased.elapsed, statement_timestamp()
    FROM leased WHERE leased.key IS NOT NULL
    ON CONFLICT (task_id, key) DO UPDATE
    SET status = 'succeeded', input = EXCLUDED.input, input_hash = EXCLUDED.input_hash, output = EXCLUDED.output,
        logs = EXCLUDED.logs, error = NULL, until = NULL, started_at = EXCLUDED.started_at,
        finished_at = EXCLUDED.finished_at
    WHERE existing.status <> 'succeeded'
    RETURNING output::text
), settled AS (
    UPDATE taskqueue_task task
    SET status = 'succeeded', result = leased.result::jsonb, error = NULL, finished_at = statement_timestamp(),
        code_ended = leased.code, drift = coalesce(leased.drift::jsonb, task.drift),
        progress = CASE WHEN task.progress IS NOT NULL THEN 1 END, progress_note = ''
    FROM leased
    WHERE task.id = leased.id AND task.id = ANY (:tasks::uuid[])
    RETURNING task.id
) SELECT FROM settled;
