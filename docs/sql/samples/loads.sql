-- Count the slots in use and the queued tasks of each pipeline, up to a cap. Each count reads from a name on, in an
-- order, and filters afterwards: only one index fits, and no more rows are read than the limit says. The planner takes
-- another way only while the table is so small that reading all of it costs no more.
-- Parameters: :names text[]
SELECT known.name, (
    SELECT count(*) FROM (
        SELECT place.slot_pipeline FROM taskqueue_task place WHERE place.slot_pipeline >= known.name
        ORDER BY place.slot_pipeline, place.concurrency_key LIMIT 1001
    ) AS places WHERE slot_pipeline = known.name
), least(1001, (
    SELECT count(*) FROM (
        SELECT going.ready_queue FROM taskqueue_task going WHERE going.ready_queue >= known.name
        ORDER BY going.ready_queue, going.sort_at, going.id LIMIT 1001
    ) AS queue WHERE ready_queue = known.name
) + (
        SELECT count(*) FROM (
            SELECT fresh.ready_queue FROM taskqueue_task fresh WHERE fresh.ready_queue >= known.name || '+'
            ORDER BY fresh.ready_queue, fresh.sort_at, fresh.id LIMIT 1001
        ) AS queue WHERE ready_queue = known.name || '+'
    ) + (
        SELECT count(*) FROM (
            SELECT kept.blocked_queue FROM taskqueue_task kept WHERE kept.blocked_queue >= known.name
            ORDER BY kept.blocked_queue, kept.concurrency_key, kept.sort_at, kept.id LIMIT 1001
        ) AS queue WHERE blocked_queue = known.name
))::int
FROM (SELECT name COLLATE "C" AS name FROM unnest(:names::text[]) AS name) AS known;
