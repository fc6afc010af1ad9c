-- Limit how long a statement waits for locks, for the rest of a transaction.
-- Parameters: :lock_timeout text
SELECT set_config('lock_timeout', :lock_timeout::text, true);
