-- Find tasks whose deadline has passed.
SELECT id FROM taskqueue_task WHERE deadline_at <= statement_timestamp() ORDER BY deadline_at LIMIT 50;
