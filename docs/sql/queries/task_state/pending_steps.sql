-- Read the waiting and retrying steps of a task in the order of recording, each with its child; the waiting parallel
-- steps only if asked for.
-- Parameters: :task uuid, :with_parallel boolean
SELECT step."id", step."key", step."name", step."kind", step."status", step."failures", step."input", step."error", step."until", step."child_id", step."started_at", child."id", child."pipeline_id", child."status", child."slot_acquired_at", child."blocked_on", child."created_at"
FROM taskqueue_step step
LEFT JOIN LATERAL (SELECT * FROM taskqueue_task WHERE id = step.child_id LIMIT 1) AS child ON true
WHERE step.task_id = :task::uuid AND (
    step.status = 'retrying' OR step.status = 'waiting' AND (:with_parallel::boolean OR step.kind <> 'parallel')
)
ORDER BY step.id;
