-- Delete the watches that no process has renewed.
DELETE FROM taskqueue_streamwatch WHERE task_id IN (
    SELECT task_id FROM taskqueue_streamwatch WHERE until < clock_timestamp() FOR UPDATE SKIP LOCKED
);
