-- Add the pipelines that are not pruned yet, also those whose code is gone.
-- Parameters: :rest interval
INSERT INTO taskqueue_pruning (name, after, due_at, total)
SELECT name, '00000000-0000-0000-0000-000000000000', statement_timestamp() + :rest::interval, 0
FROM (SELECT name FROM taskqueue_pipeline UNION ALL VALUES (''), ('+'), ('+uses')) AS every (name)
WHERE NOT EXISTS (SELECT FROM taskqueue_pruning WHERE taskqueue_pruning.name = every.name)
ON CONFLICT DO NOTHING;
