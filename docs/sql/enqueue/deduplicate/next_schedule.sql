-- Lock the next schedule that is due. One process at a time has the lock, while it enqueues the runs and sets the next
-- time.
-- Parameters: :pipelines text[]
SELECT schedule.pipeline_id, schedule.expression, schedule.timezone, schedule.misfire, schedule.next_at,
    statement_timestamp(), CASE WHEN pipeline.paused_at IS NULL THEN ''
        ELSE format('by %s: %s', coalesce(nullif(pipeline.paused_by, ''), 'unknown'), pipeline.pause_reason) END
FROM taskqueue_schedule schedule JOIN taskqueue_pipeline pipeline ON pipeline.name = schedule.pipeline_id
WHERE schedule.next_at <= statement_timestamp() AND schedule.pipeline_id = ANY (:pipelines::text[])
ORDER BY schedule.next_at LIMIT 1
FOR NO KEY UPDATE OF schedule SKIP LOCKED;
