-- Find the age of the oldest unfinished task: one index probe per status.
SELECT min(oldest.created_at)
FROM unnest(ARRAY['scheduled', 'queued', 'running', 'waiting', 'retrying']) AS live (status)
CROSS JOIN LATERAL (
    SELECT created_at FROM taskqueue_task WHERE status = live.status ORDER BY status DESC, id LIMIT 1
) AS oldest;
