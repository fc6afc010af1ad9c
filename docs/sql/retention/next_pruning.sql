-- Find the pipeline that has waited longest to be pruned, so that a long history does not keep the others waiting.
SELECT pruning.name, pruning.after, pipeline.keep, coalesce(pipeline.keep_for_ever, false)
FROM taskqueue_pruning pruning LEFT JOIN taskqueue_pipeline pipeline ON pipeline.name = pruning.name
WHERE pruning.name <> '' AND pruning.due_at <= statement_timestamp()
ORDER BY pruning.due_at, pruning.name LIMIT 1;
