-- Find the first such end in minutes that are rolled up but not closed: those are rolled up again.
-- Parameters: :closed timestamptz, :rolled timestamptz
SELECT date_bin('1 minute', min(finished_at), 'epoch') FROM taskqueue_reopened
WHERE finished_at >= :closed::timestamptz AND finished_at < :rolled::timestamptz;
