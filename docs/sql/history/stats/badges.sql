-- Count today's failures, paused pipelines, workers and firing alerts for the navigation of every page: small tables.
-- And whether a question is open, by its index.
-- Parameters: :heartbeat_timeout interval
SELECT coalesce((
    SELECT sum(failed) FROM taskqueue_rollup
    WHERE span = 15 AND pipeline = '' AND at >= date_trunc('day', statement_timestamp(), 'UTC')
), 0)::int,
(SELECT count(*) FROM taskqueue_pipeline WHERE paused_at IS NOT NULL)::int,
count(*)::int, (count(*) FILTER (WHERE claim_error <> ''))::int,
date_trunc('day', statement_timestamp(), 'UTC'), (count(*) FILTER (WHERE executing > 0))::int,
coalesce(sum(slots), 0)::int, coalesce(sum(executing), 0)::int,
(SELECT count(*) FROM taskqueue_alert WHERE firing_since IS NOT NULL)::int,
EXISTS (SELECT FROM taskqueue_wait WHERE outcome = '' AND assignees IS NOT NULL)::int
FROM taskqueue_worker WHERE ended_at IS NULL AND heartbeat_at > statement_timestamp() - :heartbeat_timeout::interval;
