-- Block a rate from within a step. The longest block counts.
-- Parameters: :task uuid, :worker int, :lease int, :use text, :delay interval, :reason text, :rate text
WITH leased AS (
    SELECT id FROM taskqueue_task
    WHERE id = :task::uuid AND worker_id = :worker::int AND lease = :lease::int AND status = 'running'
    FOR NO KEY UPDATE
)
INSERT INTO taskqueue_ratelimitbucket AS used (rate_id, key, theoretical_arrival_at, admitted, blocked_until,
    block_reason)
SELECT rate.name, :use::text, statement_timestamp(), 0, statement_timestamp() + :delay::interval, :reason::text
FROM taskqueue_ratelimit rate CROSS JOIN leased WHERE rate.name = :rate::text
ON CONFLICT (rate_id, key) DO UPDATE
SET blocked_until = EXCLUDED.blocked_until, block_reason = EXCLUDED.block_reason
WHERE used.blocked_until IS NULL OR used.blocked_until < EXCLUDED.blocked_until;
