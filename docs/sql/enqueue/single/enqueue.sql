-- Create a task. No row when its key stands for another task, or when a unique index (singleton, debounce, the run of a
-- schedule) finds one.
-- Parameters: :pipeline text, :key text, :id uuid, :window interval, :payload_digest text, :force boolean, :run_at
-- timestamptz, :delay interval, :labels jsonb, :subject text, :priority smallint, :payload jsonb, :rerun_of uuid,
-- :concurrency_key text, :version text, :start_within interval, :finish_within interval, :cancel_grace interval,
-- :notify_completion boolean, :debounce_key text, :singleton_key text, :cron_at timestamptz, :event uuid, :parent uuid,
-- :parent_key text, :depth smallint
WITH pipeline AS (
    -- A pipeline that has no row yet (a new deploy, an emptied test database) must not fail its first caller.
    INSERT INTO taskqueue_pipeline (name, description, payload_schema, result_schema, retry)
    SELECT :pipeline::text, '', '{}', '{}', '[]'
    WHERE NOT EXISTS (SELECT FROM taskqueue_pipeline WHERE name = :pipeline::text)
    ON CONFLICT DO NOTHING
    RETURNING name
), reserved AS (
    -- Of several callers with a new key the first wins; the others wait for its commit and then insert no task.
    INSERT INTO taskqueue_idempotencykey AS existing (pipeline_id, key, task_id, expires_at, payload_digest)
    SELECT :pipeline::text, :key::text, :id::uuid, statement_timestamp() + :window::interval,
        :payload_digest::text
    WHERE :key::text <> '' AND (:force::boolean OR (
        SELECT true FROM taskqueue_idempotencykey taken
        WHERE (taken.pipeline_id, taken.key) >= (:pipeline::text, :key::text)
            AND (taken.pipeline_id, taken.key) <= (:pipeline::text, :key::text) AND taken.expires_at > statement_timestamp()
        ORDER BY taken.pipeline_id, taken.key LIMIT 1
    ) IS NULL)
    ON CONFLICT (pipeline_id, key) DO UPDATE SET task_id = EXCLUDED.task_id, expires_at = EXCLUDED.expires_at,
        payload_digest = EXCLUDED.payload_digest
    WHERE existing.expires_at <= statement_timestamp() OR :force::boolean
    RETURNING 1
), due AS (
    SELECT greatest(:run_at::timestamptz, statement_timestamp() + :delay::interval) AS at
)
INSERT INTO taskqueue_task (
    id, pipeline_id, status, key, labels, subject, priority, payload, due_at, sort_at,
    lease, failures, progress_note, rerun_of_id, created_at,
    concurrency_key, version, start_by, finish_within, cancel_grace, notify_completion, debounce_key, singleton_key,
    cron_at, event_id,
    parent_id, parent_key, parallel_step, depth, shares_slot
)
SELECT
    :id::uuid, :pipeline::text, CASE WHEN due.at > statement_timestamp() THEN 'scheduled' ELSE 'queued' END,
    :key::text, :labels::jsonb, :subject::text, :priority::smallint, :payload::jsonb,
    due.at, due.at - make_interval(secs => :priority::smallint), 0, 0, '', :rerun_of::uuid, statement_timestamp(),
    :concurrency_key::text, :version::text, due.at + :start_within::interval, :finish_within::interval,
    :cancel_grace::interval, :notify_completion::boolean, :debounce_key::text, :singleton_key::text,
    :cron_at::timestamptz, :event::uuid,
    :parent::uuid, :parent_key::text, '', :depth::smallint, false
FROM due
WHERE :key::text = '' OR EXISTS (SELECT FROM reserved)
-- A singleton, a debounced task, a batch, or the run of a schedule that exists already.
ON CONFLICT DO NOTHING
RETURNING status, due_at, sort_at, created_at, EXISTS (SELECT FROM pipeline);
