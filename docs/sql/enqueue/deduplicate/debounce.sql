-- Replace the payload of the debounced task that waits, and wait again. A task that has become due is no longer
-- `unique_debounce`: a caller that waited for its row then finds none.
-- Parameters: :payload jsonb, :labels jsonb, :subject text, :priority smallint, :key text, :concurrency_key text,
-- :version text, :delay interval, :longest interval, :start_within interval, :finish_within interval, :cancel_grace
-- interval, :notify_completion boolean, :pipeline text, :debounce_key text
UPDATE taskqueue_task task
SET payload = :payload::jsonb, labels = :labels::jsonb, subject = :subject::text,
    priority = :priority::smallint,
    key = coalesce(nullif(:key::text, ''), task.key), concurrency_key = :concurrency_key::text,
    version = :version::text,
    due_at = greatest(
    statement_timestamp(),
    least(statement_timestamp() + :delay::interval, task.created_at + :longest::interval)
), sort_at = greatest(
    statement_timestamp(),
    least(statement_timestamp() + :delay::interval, task.created_at + :longest::interval)
) - make_interval(secs => :priority::smallint),
    start_by = greatest(
    statement_timestamp(),
    least(statement_timestamp() + :delay::interval, task.created_at + :longest::interval)
) + :start_within::interval, finish_within = :finish_within::interval,
    cancel_grace = :cancel_grace::interval, notify_completion = :notify_completion::boolean
WHERE task.unique_debounce = :pipeline::text || ' ' || :debounce_key::text
RETURNING task.id, true, task.due_at <= statement_timestamp();
