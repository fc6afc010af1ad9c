-- Delete tasks and all rows that belong to them: parallel steps whose result their parent has recorded. Foreign keys
-- are checked at the commit.
-- Parameters: :tasks uuid[]
WITH steps AS (
    DELETE FROM taskqueue_step WHERE task_id = ANY (:tasks::uuid[])
), attempts AS (
    DELETE FROM taskqueue_attempt WHERE task_id = ANY (:tasks::uuid[])
), waits AS (
    DELETE FROM taskqueue_wait WHERE task_id = ANY (:tasks::uuid[])
), slots AS (
    DELETE FROM taskqueue_stepslot WHERE task_id = ANY (:tasks::uuid[])
), parent_steps AS (
    UPDATE taskqueue_step SET child_id = NULL WHERE child_id = ANY (:tasks::uuid[])
        AND NOT task_id = ANY (:tasks::uuid[])
), events AS (
    -- An event that a parallel step sent counts as sent by its parent.
    UPDATE taskqueue_event event SET source_id = task.parent_id FROM taskqueue_task task
    WHERE event.source_id = ANY (:tasks::uuid[]) AND task.id = event.source_id AND task.id = ANY (:tasks::uuid[])
)
DELETE FROM taskqueue_task WHERE id = ANY (:tasks::uuid[]);
