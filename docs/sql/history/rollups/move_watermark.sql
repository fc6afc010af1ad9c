-- Move the watermark.
-- Parameters: :final_until timestamptz, :rolled_up_until timestamptz
UPDATE taskqueue_rollupmark SET final_until = :final_until::timestamptz,
    rolled_up_until = :rolled_up_until::timestamptz,
    moved_at = statement_timestamp();
