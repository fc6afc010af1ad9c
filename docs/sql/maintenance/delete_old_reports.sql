-- Delete reports on tasks that the worker executes no more.
DELETE FROM taskqueue_stepreport report
WHERE report.reported_at < statement_timestamp() - interval '1 minute' AND coalesce((
    -- A subquery for each row: a join could read all running tasks.
    SELECT task.status <> 'running' OR task.lease <> report.lease FROM taskqueue_task task
    WHERE task.id = report.task_id
), true);
