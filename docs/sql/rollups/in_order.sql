-- Let reads up to a cap come from their index in order, until the end of the transaction: with statistics older than
-- the queue the planner would sort all of it.
SELECT set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true);
