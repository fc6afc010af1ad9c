-- Count the ended tasks of pipelines by bars of time.
-- Parameters: :bar interval, :start timestamptz, :pipelines text[], :until timestamptz
SELECT pipeline, date_bin(:bar::interval, at, :start::timestamptz), sum(succeeded)::int, sum(failed)::int
FROM taskqueue_rollup
WHERE span = 15 AND pipeline = ANY (:pipelines::text[])
    AND at >= :start::timestamptz AND at < :until::timestamptz
GROUP BY 1, 2;
