-- Close the open waits of ended tasks; run after the locks, to see what their last holders did. Few ended tasks left
-- waits open: those whose code has changed since, or that killed their workers.
-- Parameters: :tasks uuid[]
UPDATE taskqueue_wait SET outcome = 'closed', resolved_at = statement_timestamp()
WHERE task_id = ANY (:tasks::uuid[]) AND outcome = '';
