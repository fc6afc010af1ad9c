-- Until the end of the transaction, read rows by the index that has their order: with outdated statistics the planner
-- would sort all of them.
SELECT set_config('enable_sort', 'off', true);
