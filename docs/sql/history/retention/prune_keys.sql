-- Delete idempotency keys that have expired.
DELETE FROM taskqueue_idempotencykey WHERE id = ANY (ARRAY(
    SELECT id FROM taskqueue_idempotencykey
    WHERE expires_at < statement_timestamp() - interval '1 hour'
    ORDER BY expires_at LIMIT 200
    FOR UPDATE SKIP LOCKED
))
RETURNING 1;
