-- Delete reports on tasks that the worker executes no more.
DELETE FROM taskqueue_stepreport report
WHERE report.reported_at < statement_timestamp() - interval '1 minute' AND NOT EXISTS (
    SELECT FROM taskqueue_task task
    WHERE task.id = report.task_id AND task.lease = report.lease AND task.status = 'running'
);
