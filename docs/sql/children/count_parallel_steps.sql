-- Count the unfinished tasks of each parallel step, without those that wait behind its limit.
-- Parameters: :task uuid
SELECT parallel_step, count(*) FROM taskqueue_task
WHERE parent_id = :task::uuid AND parallel_step <> '' AND finished_at IS NULL
    AND NOT (status = 'waiting' AND due_at IS NULL AND blocked_on = '')
GROUP BY parallel_step;
