-- Find labels whose name or value is a word, among the newest tasks.
-- Parameters: :newest int, :word unknown, :limit int
SELECT DISTINCT label.key, label.value
FROM (SELECT labels FROM taskqueue_task WHERE parallel_step = '' ORDER BY id DESC LIMIT :newest::int) AS task
CROSS JOIN LATERAL jsonb_each_text(task.labels) AS label
WHERE lower(label.value) = lower(:word) OR lower(label.key) = lower(:word)
ORDER BY label.key, label.value LIMIT :limit::int;
