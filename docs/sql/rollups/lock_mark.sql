-- Lock the watermark, unless another process has, and tell up to which time minutes can be closed. A time of end is
-- that of the statement that writes it, which may not have committed: so nothing is closed after the beginning of the
-- oldest transaction that writes to the tables. Read before the rows are, in a statement of its own.
WITH writers AS (
    SELECT min(coalesce(activity.xact_start, statement_timestamp() - interval '10 minutes')) AS since
    FROM pg_locks held LEFT JOIN pg_stat_activity activity ON activity.pid = held.pid
    WHERE held.locktype = 'relation'
        AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND held.relation IN ('taskqueue_task'::regclass, 'taskqueue_attempt'::regclass)
        AND held.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
        AND held.pid IS DISTINCT FROM pg_backend_pid()
), times AS (
    SELECT statement_timestamp() - interval '2 seconds' AS past,
        date_bin('1 minute', least(statement_timestamp() - interval '2 seconds', (SELECT since FROM writers)), 'epoch') AS settled
), known AS (
    SELECT mark.id, times.past, times.settled, EXISTS (
        SELECT FROM taskqueue_reopened WHERE finished_at < mark.rolled_up_until
    ) AS has_reopened
    FROM taskqueue_rollupmark mark CROSS JOIN times
)
SELECT mark.final_until, mark.rolled_up_until, known.past, known.settled, known.has_reopened
FROM taskqueue_rollupmark mark JOIN known USING (id)
WHERE mark.rolled_up_until < known.past - interval '3 seconds' OR mark.final_until < known.settled OR known.has_reopened
FOR NO KEY UPDATE OF mark SKIP LOCKED;
