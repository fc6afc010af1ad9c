-- Delete old rollups.
-- Parameters: :span int, :before timestamptz
DELETE FROM taskqueue_rollup WHERE span = :span::int AND at < :before::timestamptz;
