-- List the fields by which open waits match events of a name: each distinct list once, by one index probe each.
-- Parameters: :name text
WITH RECURSIVE lists AS (
    (
        SELECT fields FROM taskqueue_wait
        WHERE outcome = '' AND event = :name::text ORDER BY event, fields, digest LIMIT 1
    )
    UNION ALL
    SELECT following.fields FROM lists CROSS JOIN LATERAL (
        SELECT fields FROM taskqueue_wait
        WHERE outcome = '' AND event = :name::text AND fields > lists.fields ORDER BY event, fields, digest LIMIT 1
    ) AS following
)
SELECT fields FROM lists;
