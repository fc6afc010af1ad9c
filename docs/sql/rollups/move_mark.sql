-- Move the watermark.
-- Parameters: :closed timestamptz, :rolled timestamptz
UPDATE taskqueue_rollupmark SET final_until = :closed::timestamptz, rolled_up_until = :rolled::timestamptz,
    moved_at = statement_timestamp();
