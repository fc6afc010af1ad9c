-- Close the open waits of ended tasks; run after the locks, to see what their last holders wrote. Few ended tasks leave
-- waits open: their code has changed since, or they killed their workers.
-- Parameters: :tasks uuid[]
UPDATE taskqueue_wait SET outcome = 'closed', resolved_at = statement_timestamp()
WHERE task_id = ANY (:tasks::uuid[]) AND outcome = '';
