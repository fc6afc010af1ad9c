-- Create the tasks of parallel steps. They run in their parent's slot.
-- Parameters: :ids uuid[], :keys text[], :payloads text[], :parallel_steps text[], :limits int[], :blocked boolean[],
-- :step_queues text[], :task uuid, :traceparent text
WITH new AS (
    SELECT * FROM unnest(
        :ids::uuid[], :keys::text[], :payloads::text[], :parallel_steps::text[], :limits::int[],
        :blocked::boolean[], :step_queues::text[]
    ) AS new (id, key, payload, parallel_step, "limit", blocked, step_queue)
), step AS (
    UPDATE taskqueue_step step SET child_id = new.id FROM new
    WHERE step.task_id = :task::uuid AND step.key = new.key
)
INSERT INTO taskqueue_task (
    id, pipeline_id, status, key, labels, priority, payload, due_at, sort_at, lease, failures, progress_note,
    created_at, concurrency_key, version, cancel_grace, notify_completion, parent_id, parent_key, parallel_step,
    parallel_limit, depth,
    slot_acquired_at, shares_slot, step_queue, traceparent
)
SELECT
    new.id, parent.pipeline_id, CASE WHEN new.blocked THEN 'waiting' ELSE 'queued' END, parent.key, parent.labels,
    parent.priority, new.payload::jsonb,
    CASE WHEN NOT new.blocked THEN statement_timestamp() END,
    CASE WHEN NOT new.blocked THEN statement_timestamp() - make_interval(secs => parent.priority) END, 0, 0, '',
    statement_timestamp(), parent.concurrency_key, parent.version, parent.cancel_grace, true, parent.id, new.key,
    new.parallel_step,
    new."limit", parent.depth, statement_timestamp(), true, new.step_queue,
    :traceparent::text
FROM new JOIN taskqueue_task parent ON parent.id = :task::uuid;
