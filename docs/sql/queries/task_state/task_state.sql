-- Read a task that is not a parallel step, with its pipeline, worker and limits, and the numbers of its steps:
-- finished, known to the pipeline, and pending; of these, parallel steps are only counted.
-- Parameters: :task uuid
SELECT statement_timestamp(), counts.done,
    (SELECT count(*) FROM taskqueue_pipelinestep known WHERE known.pipeline_id = task.pipeline_id),
    counts.pending, counts.parallel,
    task."id", task."pipeline_id", task."status", task."labels", task."error", task."due_at", task."sort_at", task."concurrency_key", task."slot_acquired_at", task."shares_slot", task."step_queue", task."worker_id", task."failures", task."progress", task."progress_note", task."blocked_on", task."parallel_step", task."debounce_key", task."cancel_reason", task."created_at", task."started_at", task."finished_at",
    pipeline."name", pipeline."paused_at", pipeline."paused_by", pipeline."pause_reason", pipeline."queue", pipeline."declared_queue",
    worker."id", worker."host", worker."pid", worker."thread", worker."task_id", worker."step", worker."step_started_at", worker."steps", worker."heartbeat_at",
    limits."pipeline_id", limits."tasks", limits."tasks_per_key", limits."steps", limits."steps_per_key", limits."declared_tasks", limits."declared_tasks_per_key", limits."declared_steps", limits."declared_steps_per_key", limits."rate_id", limits."rate_is_keyed",
    rate."name", rate."key", rate."declared_count", rate."declared_per", rate."declared_burst", rate."count", rate."per", rate."burst"
FROM taskqueue_task task
JOIN taskqueue_pipeline pipeline ON pipeline.name = task.pipeline_id
LEFT JOIN taskqueue_worker worker ON worker.id = task.worker_id
LEFT JOIN taskqueue_concurrencylimit limits ON limits.pipeline_id = task.pipeline_id
LEFT JOIN taskqueue_ratelimit rate ON rate.name = limits.rate_id
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE step.status = 'succeeded') AS done,
        count(*) FILTER (WHERE step.status = 'retrying' OR step.status = 'waiting' AND step.kind <> 'parallel')
            AS pending,
        count(*) FILTER (WHERE step.status = 'waiting' AND step.kind = 'parallel') AS parallel
    FROM taskqueue_step step WHERE step.task_id = :task::uuid
) AS counts
WHERE task.id = :task::uuid AND task.parallel_step = '';
