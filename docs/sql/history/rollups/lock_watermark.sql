-- Lock the watermark, unless another process has, and tell until when minutes can become final. `finished_at` is the
-- time of a statement that may not have committed: so no minute becomes final after the start of the oldest transaction
-- that writes to the tables. A statement of its own, before the rows are read.
WITH writers AS (
    SELECT min(coalesce(activity.xact_start, statement_timestamp() - interval '10 minutes')) AS since
    FROM pg_locks locks LEFT JOIN pg_stat_activity activity ON activity.pid = locks.pid
    WHERE locks.locktype = 'relation'
        AND locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND locks.relation IN ('taskqueue_task'::regclass, 'taskqueue_attempt'::regclass)
        AND locks.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
        AND locks.pid IS DISTINCT FROM pg_backend_pid()
), times AS (
    SELECT statement_timestamp() - interval '2 seconds' AS past,
        date_bin(
            '1 minute', least(statement_timestamp() - interval '2 seconds', (SELECT since FROM writers)), 'epoch'
        ) AS settled
), progress AS (
    SELECT mark.id, times.past, times.settled, EXISTS (
        SELECT FROM taskqueue_reopened WHERE finished_at < mark.rolled_up_until
    ) AS has_reopened
    FROM taskqueue_rollupmark mark CROSS JOIN times
)
SELECT mark.final_until, mark.rolled_up_until, progress.past, progress.settled, progress.has_reopened
FROM taskqueue_rollupmark mark JOIN progress USING (id)
WHERE mark.rolled_up_until < progress.past - interval '3 seconds'
    OR mark.final_until < progress.settled OR progress.has_reopened
FOR NO KEY UPDATE OF mark SKIP LOCKED;
