-- List the pipelines that lost the most time to limits.
-- Parameters: :span int, :start timestamptz, :until timestamptz, :most int
SELECT pipeline, sum(sampled_blocked_seconds)::int FROM taskqueue_rollup
WHERE span = :span::int AND at >= :start::timestamptz AND at < :until::timestamptz AND pipeline <> ''
GROUP BY pipeline HAVING sum(sampled_blocked_seconds) > 0
ORDER BY 2 DESC, pipeline LIMIT :most::int;
