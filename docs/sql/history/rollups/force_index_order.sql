-- Force capped reads to use an index in its order, until the end of the transaction: with outdated statistics the
-- planner would sort the whole queue.
SELECT set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true);
