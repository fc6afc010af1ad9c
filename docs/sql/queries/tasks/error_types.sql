-- List the error types of failed attempts: from one to the next in the index, however many attempts there are of each.
-- Parameters: :limit int
WITH RECURSIVE types(name, number) AS (
    (SELECT error_type, 1 FROM taskqueue_attempt ORDER BY error_type LIMIT 1)
    UNION ALL
    SELECT next.error_type, types.number + 1
    FROM types CROSS JOIN LATERAL (
        SELECT error_type FROM taskqueue_attempt WHERE error_type > types.name ORDER BY error_type LIMIT 1
    ) AS next
    WHERE types.number < :limit::int
)
SELECT name FROM types;
