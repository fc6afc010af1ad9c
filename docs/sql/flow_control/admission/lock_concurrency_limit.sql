-- Lock a pipeline's limits, before GRANT_SLOTS.
-- Parameters: :limited text
SELECT pipeline_id FROM taskqueue_concurrencylimit WHERE pipeline_id = :limited::text FOR NO KEY UPDATE;
