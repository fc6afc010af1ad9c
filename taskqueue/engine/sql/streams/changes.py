"""What has happened to followed tasks since the position of each stream, in one statement for all of them."""

from __future__ import annotations

from typing import Final

CHUNKS_AT_ONCE: Final = 200
LOGS_AT_ONCE: Final = 20

# Read the state of followed tasks, and of each what is new for its stream: chunks, logs of failed attempts and of
# finished steps, and the log of the running step. A step may be committed a moment after one that finished later:
# it is read when it is old enough that none is skipped.
READ_STREAMS: Final = f"""
SELECT stream.number, task.pipeline_id, task.status, task.progress, task.progress_note,
    CASE
        WHEN task.status <> 'running' THEN NULL
        WHEN worker.thread = -1 THEN worker.steps -> task.id::text ->> 0
        WHEN worker.task_id = task.id THEN nullif(worker.step, '')
    END,
    task.created_at, task.started_at, task.finished_at, task.due_at, task.error::json,
    chunks.found, attempts.found, steps.found, report.found
FROM unnest(
    %(numbers)s::int[], %(tasks)s::uuid[], %(chunks)s::bigint[], %(attempts)s::bigint[], %(steps)s::bigint[]
) AS stream (number, task_id, after_chunk, after_attempt, after_step)
CROSS JOIN LATERAL (
    SELECT * FROM taskqueue_task WHERE id = stream.task_id AND parallel_step = '' LIMIT 1
) AS task
LEFT JOIN LATERAL (SELECT * FROM taskqueue_worker WHERE id = task.worker_id LIMIT 1) AS worker ON true
CROSS JOIN LATERAL (
    SELECT coalesce(json_agg(json_build_array(id, step, attempt, lease, text, is_secret, is_cut) ORDER BY id), '[]')
        AS found
    FROM (
        -- The range, which is one task, is written so that only the index of tasks has the order.
        SELECT * FROM taskqueue_chunk
        WHERE task_id >= stream.task_id AND task_id <= stream.task_id AND id > stream.after_chunk
        ORDER BY task_id, id LIMIT {CHUNKS_AT_ONCE}
    ) AS own
) AS chunks
CROSS JOIN LATERAL (
    SELECT coalesce(json_agg(json_build_array(id, step_key, logs) ORDER BY id), '[]') AS found
    FROM (
        -- OFFSET 0: by the index of tasks, not by that of the order.
        SELECT * FROM (SELECT * FROM taskqueue_attempt WHERE task_id = stream.task_id OFFSET 0) AS own
        WHERE id > stream.after_attempt AND logs IS NOT NULL ORDER BY id LIMIT {LOGS_AT_ONCE}
    ) AS own
) AS attempts
CROSS JOIN LATERAL (
    SELECT coalesce(
        json_agg(json_build_array((extract(epoch FROM finished_at) * 1000000)::bigint, key, logs) ORDER BY finished_at),
        '[]'
    ) AS found
    FROM (
        SELECT * FROM (SELECT * FROM taskqueue_step WHERE task_id = stream.task_id OFFSET 0) AS own
        WHERE finished_at > timestamptz 'epoch' + stream.after_step * interval '1 microsecond'
            AND status = 'succeeded' AND logs IS NOT NULL AND (
                task.finished_at IS NOT NULL OR finished_at < statement_timestamp() - interval '0.2 seconds'
            )
        ORDER BY finished_at LIMIT {LOGS_AT_ONCE}
    ) AS own
) AS steps
LEFT JOIN LATERAL (
    SELECT json_build_array(0, report.step, report.logs) AS found FROM taskqueue_stepreport report
    WHERE report.task_id = stream.task_id AND report.worker_id = task.worker_id AND report.lease = task.lease
        AND task.status = 'running' AND report.logs IS NOT NULL
        AND NOT EXISTS (
            SELECT FROM taskqueue_step step
            WHERE step.task_id = report.task_id AND step.key = report.step AND step.status = 'succeeded'
        )
        AND NOT EXISTS (
            SELECT FROM taskqueue_attempt attempt
            WHERE attempt.task_id = report.task_id AND attempt.step_key = report.step AND attempt.lease = report.lease
        )
) AS report ON true
"""

# Have changes of these tasks announced for a while.
WATCH_STREAMS: Final = """
INSERT INTO taskqueue_streamwatch (task_id, until)
SELECT task, clock_timestamp() + make_interval(secs => %(seconds)s::float)
FROM unnest(%(tasks)s::uuid[]) AS task ORDER BY task
ON CONFLICT (task_id) DO UPDATE SET until = EXCLUDED.until
"""

# Delete the watches that no process has renewed.
DELETE_EXPIRED_STREAM_WATCHES: Final = """
DELETE FROM taskqueue_streamwatch WHERE task_id IN (
    SELECT task_id FROM taskqueue_streamwatch WHERE until < clock_timestamp() FOR UPDATE SKIP LOCKED
)
"""
