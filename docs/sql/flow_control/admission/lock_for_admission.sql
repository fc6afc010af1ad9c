-- Lock a pipeline's limits, before ADMIT. For the rest of the transaction PostgreSQL uses the plans that it has. Else
-- it would make a new plan for the values of each admission, since that seems to cost less, and takes three times as
-- long.
-- Parameters: :limited text
SELECT set_config('plan_cache_mode', 'force_generic_plan', true) FROM taskqueue_concurrencylimit
WHERE pipeline_id = :limited::text FOR NO KEY UPDATE;
