-- Read the database's clock, how far the rollups are, and whether they are being made.
SELECT statement_timestamp(), mark.rolled_up_until, mark.moved_at > statement_timestamp() - interval '1 minute'
FROM (SELECT) AS one LEFT JOIN taskqueue_rollupmark mark ON true;
