-- Clear the reservations of a changed rate. A task that has not started releases its slot, is blocked again and keeps
-- its age. A child that shares its parent's slot, and a step with a recorded time, are queued and reserve again.
-- Parameters: :rate text
WITH waiting AS MATERIALIZED (
    SELECT task.id, EXISTS (
        SELECT FROM taskqueue_step step
        WHERE step.task_id = task.id AND step.kind = 'step' AND step.status = 'waiting'
    ) AS at_step
    FROM taskqueue_task task
    WHERE task.status = 'waiting' AND task.blocked_on = :rate::text
    FOR NO KEY UPDATE
), steps AS (
    UPDATE taskqueue_step step SET until = statement_timestamp()
    FROM waiting
    WHERE waiting.at_step AND step.task_id = waiting.id AND step.kind = 'step' AND step.status = 'waiting'
), requeued AS (
    SELECT task.id, waiting.at_step, CASE WHEN waiting.at_step THEN statement_timestamp()
        ELSE least(task.due_at, greatest(task.created_at, task.retried_at)) END AS due_at
    FROM waiting JOIN taskqueue_task task USING (id)
    WHERE task.id = ANY (ARRAY(SELECT id FROM waiting))
)
UPDATE taskqueue_task task
SET status = 'queued',
    blocked_on = CASE WHEN task.shares_slot AND NOT requeued.at_step THEN '+' ELSE '' END,
    slot_acquired_at = CASE WHEN task.shares_slot OR requeued.at_step THEN task.slot_acquired_at END,
    due_at = requeued.due_at, sort_at = requeued.due_at - make_interval(secs => task.priority)
FROM requeued
WHERE task.id = requeued.id AND task.id = ANY (ARRAY(SELECT id FROM requeued));
