-- Limit how long a statement may take, for the rest of a transaction.
-- Parameters: :milliseconds text
SELECT set_config('statement_timeout', :milliseconds::text, true);
