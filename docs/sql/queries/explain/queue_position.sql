-- Count the tasks before a queued one: started tasks of its pipeline, and unstarted tasks of its own queue; in the
-- queue of a step, the started tasks of its pipeline there. Also the number of its pipeline's starts in the last five
-- minutes, among the tasks created last before the head of the queue.
-- Parameters: :started_queue text, :sort_at timestamptz, :task uuid, :pipeline text, :concurrency_key text
WITH RECURSIVE started AS (
    SELECT '-infinity'::timestamptz AS sort_at, '00000000-0000-0000-0000-000000000000'::uuid AS id, 0 AS number
    UNION ALL
    SELECT following.sort_at, following.id, started.number + 100
    FROM started CROSS JOIN LATERAL (
        SELECT queue.sort_at, queue.id FROM taskqueue_task queue
        WHERE queue.ready_queue IS NOT NULL
            AND (queue.ready_queue, queue.sort_at, queue.id) > (:started_queue::text, started.sort_at, started.id)
            AND (queue.ready_queue, queue.sort_at, queue.id) < (:started_queue::text, :sort_at::timestamptz, :task::uuid)
        ORDER BY queue.ready_queue, queue.sort_at, queue.id OFFSET 99 LIMIT 1
    ) AS following
    WHERE started.number < 1000
), started_head AS (
    SELECT following.sort_at, following.id
    FROM started CROSS JOIN LATERAL (
        SELECT queue.sort_at, queue.id FROM taskqueue_task queue
        WHERE queue.ready_queue IS NOT NULL
            AND (queue.ready_queue, queue.sort_at, queue.id) > (:started_queue::text, started.sort_at, started.id)
            AND (queue.ready_queue, queue.sort_at, queue.id) < (:started_queue::text, :sort_at::timestamptz, :task::uuid)
        ORDER BY queue.ready_queue, queue.sort_at, queue.id LIMIT 1
    ) AS following
    WHERE started.number = 0
), started_count AS (
    SELECT started.number + (
        SELECT count(*) FROM (
            SELECT queue.sort_at, queue.id FROM taskqueue_task queue
            WHERE queue.ready_queue IS NOT NULL
                AND (queue.ready_queue, queue.sort_at, queue.id) > (:started_queue::text, started.sort_at, started.id)
                AND (queue.ready_queue, queue.sort_at, queue.id) < (:started_queue::text, :sort_at::timestamptz, :task::uuid)
            ORDER BY queue.ready_queue, queue.sort_at, queue.id LIMIT 100
        ) AS rest
    ) AS number
    FROM started ORDER BY started.number DESC LIMIT 1
), fresh AS (
    SELECT '-infinity'::timestamptz AS sort_at, '00000000-0000-0000-0000-000000000000'::uuid AS id, 0 AS number
    UNION ALL
    SELECT following.sort_at, following.id, fresh.number + 100
    FROM fresh CROSS JOIN LATERAL (
        SELECT queue.sort_at, queue.id FROM taskqueue_task queue
        WHERE queue.ready_queue IS NOT NULL AND :started_queue::text = :pipeline::text AND :concurrency_key::text = ''
            AND (queue.ready_queue, queue.sort_at, queue.id) > (:pipeline::text || '+', fresh.sort_at, fresh.id)
            AND (queue.ready_queue, queue.sort_at, queue.id) < (:pipeline::text || '+', :sort_at::timestamptz, :task::uuid)
        ORDER BY queue.ready_queue, queue.sort_at, queue.id OFFSET 99 LIMIT 1
    ) AS following
    WHERE fresh.number < 1000
), fresh_head AS (
    SELECT following.sort_at, following.id
    FROM fresh CROSS JOIN LATERAL (
        SELECT queue.sort_at, queue.id FROM taskqueue_task queue
        WHERE queue.ready_queue IS NOT NULL AND :started_queue::text = :pipeline::text AND :concurrency_key::text = ''
            AND (queue.ready_queue, queue.sort_at, queue.id) > (:pipeline::text || '+', fresh.sort_at, fresh.id)
            AND (queue.ready_queue, queue.sort_at, queue.id) < (:pipeline::text || '+', :sort_at::timestamptz, :task::uuid)
        ORDER BY queue.ready_queue, queue.sort_at, queue.id LIMIT 1
    ) AS following
    WHERE fresh.number = 0
), fresh_count AS (
    SELECT fresh.number + (
        SELECT count(*) FROM (
            SELECT queue.sort_at, queue.id FROM taskqueue_task queue
            WHERE queue.ready_queue IS NOT NULL AND :started_queue::text = :pipeline::text AND :concurrency_key::text = ''
                AND (queue.ready_queue, queue.sort_at, queue.id) > (:pipeline::text || '+', fresh.sort_at, fresh.id)
                AND (queue.ready_queue, queue.sort_at, queue.id) < (:pipeline::text || '+', :sort_at::timestamptz, :task::uuid)
            ORDER BY queue.ready_queue, queue.sort_at, queue.id LIMIT 100
        ) AS rest
    ) AS number
    FROM fresh ORDER BY fresh.number DESC LIMIT 1
), grouped AS (
    SELECT '-infinity'::timestamptz AS sort_at, '00000000-0000-0000-0000-000000000000'::uuid AS id, 0 AS number
    UNION ALL
    SELECT following.sort_at, following.id, grouped.number + 100
    FROM grouped CROSS JOIN LATERAL (
        SELECT queue.sort_at, queue.id FROM taskqueue_task queue
        WHERE queue.blocked_queue IS NOT NULL AND :started_queue::text = :pipeline::text
            AND (queue.blocked_queue, queue.concurrency_key, queue.sort_at, queue.id) > (:pipeline::text, :concurrency_key::text, grouped.sort_at, grouped.id)
            AND (queue.blocked_queue, queue.concurrency_key, queue.sort_at, queue.id) < (:pipeline::text, :concurrency_key::text, :sort_at::timestamptz, :task::uuid)
        ORDER BY queue.blocked_queue, queue.concurrency_key, queue.sort_at, queue.id OFFSET 99 LIMIT 1
    ) AS following
    WHERE grouped.number < 1000
), grouped_head AS (
    SELECT following.sort_at, following.id
    FROM grouped CROSS JOIN LATERAL (
        SELECT queue.sort_at, queue.id FROM taskqueue_task queue
        WHERE queue.blocked_queue IS NOT NULL AND :started_queue::text = :pipeline::text
            AND (queue.blocked_queue, queue.concurrency_key, queue.sort_at, queue.id) > (:pipeline::text, :concurrency_key::text, grouped.sort_at, grouped.id)
            AND (queue.blocked_queue, queue.concurrency_key, queue.sort_at, queue.id) < (:pipeline::text, :concurrency_key::text, :sort_at::timestamptz, :task::uuid)
        ORDER BY queue.blocked_queue, queue.concurrency_key, queue.sort_at, queue.id LIMIT 1
    ) AS following
    WHERE grouped.number = 0
), grouped_count AS (
    SELECT grouped.number + (
        SELECT count(*) FROM (
            SELECT queue.sort_at, queue.id FROM taskqueue_task queue
            WHERE queue.blocked_queue IS NOT NULL AND :started_queue::text = :pipeline::text
                AND (queue.blocked_queue, queue.concurrency_key, queue.sort_at, queue.id) > (:pipeline::text, :concurrency_key::text, grouped.sort_at, grouped.id)
                AND (queue.blocked_queue, queue.concurrency_key, queue.sort_at, queue.id) < (:pipeline::text, :concurrency_key::text, :sort_at::timestamptz, :task::uuid)
            ORDER BY queue.blocked_queue, queue.concurrency_key, queue.sort_at, queue.id LIMIT 100
        ) AS rest
    ) AS number
    FROM grouped ORDER BY grouped.number DESC LIMIT 1
), head AS (
    SELECT id FROM (
        SELECT * FROM started_head UNION ALL SELECT * FROM fresh_head UNION ALL SELECT * FROM grouped_head
    ) AS heads
    ORDER BY sort_at, id LIMIT 1
), recent AS (
    SELECT coalesce((SELECT id FROM head), :task::uuid) AS id, false AS counts, NULL::timestamptz AS started_at,
        0 AS number
    UNION ALL
    SELECT older.id, older.counts, older.started_at, recent.number + 1
    FROM recent CROSS JOIN LATERAL (
        SELECT task.id, task.pipeline_id = :pipeline::text AND task.parallel_step = '' AS counts, task.started_at
        FROM taskqueue_task task WHERE task.id < recent.id ORDER BY task.id DESC LIMIT 1
    ) AS older
    WHERE recent.number < 1000
)
SELECT
    (SELECT number FROM started_count) + (SELECT number FROM fresh_count) + (SELECT number FROM grouped_count),
    count(*), extract(epoch FROM statement_timestamp() - min(started_at))::float
FROM recent
WHERE counts AND started_at > statement_timestamp() - interval '5 minutes';
