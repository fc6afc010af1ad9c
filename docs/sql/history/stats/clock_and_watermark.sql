-- Read the database's clock and the watermark of the rollups, and tell whether it moves.
SELECT statement_timestamp(), mark.rolled_up_until, mark.moved_at > statement_timestamp() - interval '1 minute'
FROM (SELECT) AS one LEFT JOIN taskqueue_rollupmark mark ON true;
