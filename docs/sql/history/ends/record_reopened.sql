-- Record the end of a task that is about to be retried, in the transaction of the retry.
-- Parameters: :task uuid
INSERT INTO taskqueue_reopened (
    finished_at, pipeline, status, ran, waited, tried, repaired, queued_seconds,
    blocked_seconds,
    waiting_seconds,
    backoff_seconds,
    executing_seconds
)
SELECT task.finished_at, task.pipeline_id AS pipeline, task.status,
CASE WHEN task.status <> 'cancelled' THEN least(floor(ln(greatest(coalesce(task.executing_seconds, extract(epoch FROM task.finished_at - task.started_at)::float) * 1000, 1)) / ln(2::float) * 4)::int, 119) END AS ran,
CASE WHEN task.status <> 'cancelled' THEN least(floor(ln(greatest(coalesce(task.queued_seconds, extract(epoch FROM task.started_at - task.created_at)::float) * 1000, 1)) / ln(2::float) * 4)::int, 119) END AS waited,
task.lease > 1 AND (
    SELECT true FROM taskqueue_attempt failed WHERE failed.task_id = task.id LIMIT 1
) IS NOT NULL AS tried,
task.status = 'succeeded' AND task.retried_at IS NOT NULL AS repaired,
coalesce(task.queued_seconds, 0) AS queued_seconds,
    coalesce(task.blocked_seconds, 0) AS blocked_seconds,
    coalesce(task.waiting_seconds, 0) AS waiting_seconds,
    coalesce(task.backoff_seconds, 0) AS backoff_seconds,
    coalesce(task.executing_seconds, 0) AS executing_seconds FROM taskqueue_task task
WHERE task.id = :task::uuid AND task.finished_at IS NOT NULL AND task.parallel_step = '';
