-- Limit how long a statement waits for locks, for the rest of a transaction.
-- Parameters: :patience text
SELECT set_config('lock_timeout', :patience::text, true);
