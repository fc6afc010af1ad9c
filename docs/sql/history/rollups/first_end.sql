-- Find the first minute since a time in which a task or an attempt ended.
-- Parameters: :since timestamptz
SELECT date_bin('1 minute', least(
    (SELECT finished_at FROM taskqueue_task WHERE finished_at >= :since::timestamptz ORDER BY finished_at LIMIT 1),
    (SELECT finished_at FROM taskqueue_attempt WHERE finished_at >= :since::timestamptz ORDER BY finished_at LIMIT 1)
), 'epoch');
