-- Find the first reopened end in minutes that are rolled up but not final: those minutes are rolled up again.
-- Parameters: :final_until timestamptz, :rolled_up_until timestamptz
SELECT date_bin('1 minute', min(finished_at), 'epoch') FROM taskqueue_reopened
WHERE finished_at >= :final_until::timestamptz AND finished_at < :rolled_up_until::timestamptz;
