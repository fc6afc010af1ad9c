-- Release an external id after its window, so that it can be used again.
-- Parameters: :external_id text, :window interval
UPDATE taskqueue_event SET unique_id = ''
WHERE unique_id = :external_id::text AND unique_id <> ''
    AND received_at <= statement_timestamp() - :window::interval;
