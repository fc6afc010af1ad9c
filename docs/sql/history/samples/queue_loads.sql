-- Count the slots in use and the queued tasks of each pipeline, up to a cap. Each count reads from a name on, in an
-- order, and filters afterwards: only one index fits, and no more rows are read than the limit. The planner chooses
-- another plan only while the table is small.
-- Parameters: :names text[]
SELECT pipelines.name, (
    SELECT count(*) FROM (
        SELECT slot.slot_pipeline FROM taskqueue_task slot WHERE slot.slot_pipeline >= pipelines.name
        ORDER BY slot.slot_pipeline, slot.concurrency_key LIMIT 1001
    ) AS slots WHERE slot_pipeline = pipelines.name
), least(1001, (
    SELECT count(*) FROM (
        SELECT ready.ready_queue FROM taskqueue_task ready WHERE ready.ready_queue >= pipelines.name
        ORDER BY ready.ready_queue, ready.sort_at, ready.id LIMIT 1001
    ) AS queue WHERE ready_queue = pipelines.name
) + (
        SELECT count(*) FROM (
            SELECT unstarted.ready_queue FROM taskqueue_task unstarted WHERE unstarted.ready_queue >= pipelines.name || '+'
            ORDER BY unstarted.ready_queue, unstarted.sort_at, unstarted.id LIMIT 1001
        ) AS queue WHERE ready_queue = pipelines.name || '+'
    ) + (
        SELECT count(*) FROM (
            SELECT keyed.blocked_queue FROM taskqueue_task keyed WHERE keyed.blocked_queue >= pipelines.name
            ORDER BY keyed.blocked_queue, keyed.concurrency_key, keyed.sort_at, keyed.id LIMIT 1001
        ) AS queue WHERE blocked_queue = pipelines.name
))::int
FROM (SELECT name COLLATE "C" AS name FROM unnest(:names::text[]) AS name) AS pipelines;
