-- Read the task that an idempotency key belongs to, with the digest of the payload that the key was used with.
-- Parameters: :pipeline text, :key text
SELECT existing.payload_digest, task."id", task."pipeline_id", task."status", task."key", task."labels", task."subject", task."priority", task."error", task."due_at", task."sort_at", task."concurrency_key", task."slot_acquired_at", task."shares_slot", task."step_queue", task."ready_queue", task."blocked_queue", task."slot_pipeline", task."timer_at", task."worker_id", task."lease", task."failures", task."progress", task."progress_note", task."blocked_on", task."output_bytes", task."step_limit_queue", task."parent_id", task."parent_key", task."parallel_step", task."parallel_limit", task."depth", task."event_id", task."cron_at", task."debounce_key", task."unique_debounce", task."singleton_key", task."unique_singleton", task."start_by", task."finish_within", task."finish_by", task."deadline_at", task."cancel_grace", task."cancel_reason", task."notify_completion", task."callback_url", task."traceparent", task."completion_pending_at", task."version", task."code_began", task."code_ended", task."rerun_of_id", task."created_at", task."started_at", task."finished_at", task."retried_at", task."bulk_operations", task."since", task."queued_seconds", task."blocked_seconds", task."waiting_seconds", task."backoff_seconds", task."executing_seconds"
FROM (
    SELECT taken.task_id, taken.payload_digest FROM taskqueue_idempotencykey taken
    WHERE (taken.pipeline_id, taken.key) >= (:pipeline::text, :key::text)
            AND (taken.pipeline_id, taken.key) <= (:pipeline::text, :key::text)
    ORDER BY taken.pipeline_id, taken.key LIMIT 1
) AS existing
CROSS JOIN LATERAL (SELECT * FROM taskqueue_task WHERE id = existing.task_id LIMIT 1) AS task;
