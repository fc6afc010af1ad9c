-- Create any task, with its idempotency key. No row when its key stands for another task, when a unique index
-- (singleton, debounce, the run of a schedule) finds one, or when its pipeline has no row.
-- Parameters: :pipeline text, :key text, :id uuid, :window interval, :payload_digest text, :force boolean, :labels
-- jsonb, :subject text, :priority smallint, :payload jsonb, :concurrency_key text, :version text, :start_within
-- interval, :finish_within interval, :cancel_grace interval, :notify_completion boolean, :rerun_of uuid, :debounce_key
-- text, :singleton_key text, :cron_at timestamptz, :event uuid, :parent uuid, :parent_key text, :depth smallint,
-- :traceparent text, :run_at timestamptz, :delay interval, :is_alone boolean, :channel text
WITH reserved AS (
    -- Callers that waited for another one's commit then insert no task.
    INSERT INTO taskqueue_idempotencykey AS existing (pipeline_id, key, task_id, expires_at, payload_digest)
    SELECT :pipeline::text, :key::text, :id::uuid, statement_timestamp() + :window::interval,
        :payload_digest::text
    WHERE :key::text <> '' AND EXISTS (SELECT FROM taskqueue_pipeline WHERE name = :pipeline::text) AND (:force::boolean OR (
        SELECT true FROM taskqueue_idempotencykey taken
        WHERE (taken.pipeline_id, taken.key) >= (:pipeline::text, :key::text)
            AND (taken.pipeline_id, taken.key) <= (:pipeline::text, :key::text) AND taken.expires_at > statement_timestamp()
        ORDER BY taken.pipeline_id, taken.key LIMIT 1
    ) IS NULL)
    ON CONFLICT (pipeline_id, key) DO UPDATE SET task_id = EXCLUDED.task_id, expires_at = EXCLUDED.expires_at,
        payload_digest = EXCLUDED.payload_digest
    WHERE existing.expires_at <= statement_timestamp() OR :force::boolean
    RETURNING 1
)
INSERT INTO taskqueue_task (
    id, pipeline_id, status, key, labels, subject, priority, payload, due_at, sort_at, lease, failures, progress_note,
    created_at, concurrency_key, version, start_by, finish_within, cancel_grace, notify_completion,
    rerun_of_id, debounce_key, singleton_key, cron_at, event_id, parent_id, parent_key, parallel_step, depth,
    shares_slot, traceparent
)
SELECT
    :id::uuid, :pipeline::text, CASE WHEN due.at > statement_timestamp() THEN 'scheduled' ELSE 'queued' END,
    :key::text, :labels::jsonb, :subject::text, :priority::smallint, :payload::jsonb,
    due.at, due.at - make_interval(secs => :priority::smallint), 0, 0, '', statement_timestamp(),
    :concurrency_key::text, :version::text, due.at + :start_within::interval, :finish_within::interval,
    :cancel_grace::interval, :notify_completion::boolean,
    :rerun_of::uuid, :debounce_key::text, :singleton_key::text, :cron_at::timestamptz, :event::uuid,
    :parent::uuid, :parent_key::text, '', :depth::smallint, false, :traceparent::text
FROM (SELECT greatest(:run_at::timestamptz, statement_timestamp() + :delay::interval) AS at) AS due
WHERE EXISTS (SELECT FROM taskqueue_pipeline WHERE name = :pipeline::text) AND (:key::text = '' OR EXISTS (SELECT FROM reserved))
-- A singleton, a debounced task, a batch, or the run of a schedule that exists already.
ON CONFLICT DO NOTHING
RETURNING created_at, nullif(due_at, created_at), CASE WHEN :is_alone::boolean AND pg_notification_queue_usage() < 0.5
    AND pg_try_advisory_xact_lock(1953590900) THEN pg_notify(:channel::text, '') IS NOT NULL
    ELSE false END;
