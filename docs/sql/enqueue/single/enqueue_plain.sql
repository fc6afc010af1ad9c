-- Create a task that no existing task can serve, and that no task, event or schedule creates. No row when its pipeline
-- has none.
-- Parameters: :id uuid, :pipeline text, :key text, :labels jsonb, :subject text, :priority smallint, :payload jsonb,
-- :concurrency_key text, :version text, :start_within interval, :finish_within interval, :cancel_grace interval,
-- :notify_completion boolean, :run_at timestamptz, :is_alone boolean, :channel text
INSERT INTO taskqueue_task (
    id, pipeline_id, status, key, labels, subject, priority, payload, due_at, sort_at, lease, failures, progress_note,
    created_at, concurrency_key, version, start_by, finish_within, cancel_grace, notify_completion
)
SELECT
    :id::uuid, :pipeline::text, CASE WHEN due.at > statement_timestamp() THEN 'scheduled' ELSE 'queued' END,
    :key::text, :labels::jsonb, :subject::text, :priority::smallint, :payload::jsonb,
    due.at, due.at - make_interval(secs => :priority::smallint), 0, 0, '', statement_timestamp(),
    :concurrency_key::text, :version::text, due.at + :start_within::interval, :finish_within::interval,
    :cancel_grace::interval, :notify_completion::boolean
FROM (SELECT greatest(:run_at::timestamptz, statement_timestamp()) AS at) AS due
WHERE EXISTS (SELECT FROM taskqueue_pipeline WHERE name = :pipeline::text)
RETURNING created_at, nullif(due_at, created_at), CASE WHEN :is_alone::boolean AND pg_notification_queue_usage() < 0.5
    AND pg_try_advisory_xact_lock(1953590900) THEN pg_notify(:channel::text, '') IS NOT NULL
    ELSE false END;
