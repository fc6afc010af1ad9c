-- Queue the tasks whose timer is due.
UPDATE taskqueue_task SET status = 'queued'
WHERE id = ANY (ARRAY(
    SELECT id FROM taskqueue_task
    WHERE timer_at <= statement_timestamp()
    ORDER BY timer_at LIMIT 50
    FOR NO KEY UPDATE SKIP LOCKED
))
RETURNING id;
