-- Find ended tasks whose completion is still to be handled, the oldest first, of pipelines that this process has the
-- code of.
-- Parameters: :pipelines text[]
SELECT id FROM taskqueue_task
WHERE completion_pending_at IS NOT NULL AND pipeline_id = ANY (:pipelines::text[])
ORDER BY completion_pending_at LIMIT 50;
