-- List the pipelines with the most ended tasks.
-- Parameters: :start timestamptz, :until timestamptz, :most int
SELECT pipeline FROM taskqueue_rollup
WHERE span = 15 AND at >= :start::timestamptz AND at < :until::timestamptz AND pipeline <> ''
GROUP BY pipeline
HAVING sum(succeeded + failed + cancelled + sampled_blocked_seconds) > 0
ORDER BY sum(succeeded + failed) DESC, sum(sampled_blocked_seconds) DESC, pipeline LIMIT :most::int;
