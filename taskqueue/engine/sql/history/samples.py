"""Queue loads, step durations and code versions of pipelines, from a bounded number of rows read by an index."""

from __future__ import annotations

from typing import Final

from taskqueue.engine.sql.queues import step_queue_depth

COUNT_CAP: Final = 1_000
"""Higher counts are shown as "1,000+"."""
RECENT_TASKS: Final = 500
RECENT_STEPS: Final = 20_000

# Count the slots in use and the queued tasks of each pipeline, up to a cap. Each count reads from a name on, in an
# order, and filters afterwards: only one index fits, and no more rows are read than the limit. The planner chooses
# another plan only while the table is small.
QUEUE_LOADS: Final = f"""
WITH {step_queue_depth(COUNT_CAP + 1)}
SELECT pipelines.name, (
    SELECT count(*) FROM (
        SELECT slot.slot_pipeline FROM taskqueue_task slot WHERE slot.slot_pipeline >= pipelines.name
        ORDER BY slot.slot_pipeline, slot.concurrency_key LIMIT {COUNT_CAP + 1}
    ) AS slots WHERE slot_pipeline = pipelines.name
), least({COUNT_CAP + 1}, (
    SELECT count(*) FROM (
        SELECT ready.ready_queue FROM taskqueue_task ready WHERE ready.ready_queue >= pipelines.name
        ORDER BY ready.ready_queue, ready.sort_at, ready.id LIMIT {COUNT_CAP + 1}
    ) AS queue WHERE ready_queue = pipelines.name
) + (
    SELECT count(*) FROM (
        SELECT unstarted.ready_queue FROM taskqueue_task unstarted WHERE unstarted.ready_queue >= pipelines.name || '+'
        ORDER BY unstarted.ready_queue, unstarted.sort_at, unstarted.id LIMIT {COUNT_CAP + 1}
    ) AS queue WHERE ready_queue = pipelines.name || '+'
) + coalesce((
    SELECT sum(number) FROM step_queue_depth WHERE pipeline = pipelines.name
), 0) + (
    SELECT count(*) FROM (
        SELECT keyed.blocked_queue FROM taskqueue_task keyed WHERE keyed.blocked_queue >= pipelines.name
        ORDER BY keyed.blocked_queue, keyed.concurrency_key, keyed.sort_at, keyed.id LIMIT {COUNT_CAP + 1}
    ) AS queue WHERE blocked_queue = pipelines.name
))::int
FROM (SELECT name COLLATE "C" AS name FROM unnest(%(names)s::text[]) AS name) AS pipelines
"""

# The newest tasks of a pipeline. Parallel steps count with their parent.
NEWEST: Final = f"""newest AS MATERIALIZED (
    SELECT id, created_at, version, code_began, code_ended FROM (
        SELECT task.id, task.pipeline_id, task.created_at, task.version, task.code_began, task.code_ended,
            task.parallel_step
        FROM taskqueue_task task WHERE task.pipeline_id >= %(pipeline)s::text COLLATE "C"
        ORDER BY task.pipeline_id, task.id DESC LIMIT {4 * RECENT_TASKS}
    ) AS from_pipeline
    WHERE pipeline_id = %(pipeline)s::text AND parallel_step = '' ORDER BY id DESC LIMIT {RECENT_TASKS}
)"""

# Sum up the steps of a pipeline's newest tasks, in the order in which they run.
STEP_STATS: Final = f"""
WITH {NEWEST}, sampled AS MATERIALIZED (
    SELECT step.* FROM newest CROSS JOIN LATERAL (
        SELECT own.name, own.kind, own.status, coalesce(attempts.number, 0) AS failures,
            own.finished_at - own.started_at AS duration,
            row_number() OVER (ORDER BY own.id) AS position
        FROM (
            SELECT step.id, step.key, step.name, step.kind, step.status, step.started_at, step.finished_at
            FROM taskqueue_step step WHERE step.task_id = newest.id ORDER BY step.task_id, step.key LIMIT 200
        ) AS own LEFT JOIN (
            SELECT attempt.step_key, count(*) AS number
            FROM taskqueue_attempt attempt WHERE attempt.task_id = newest.id GROUP BY attempt.step_key
        ) AS attempts ON attempts.step_key = own.key
    ) AS step LIMIT {RECENT_STEPS}
)
SELECT name, min(kind), count(*) FILTER (WHERE status = 'succeeded'), count(*) FILTER (WHERE status = 'failed'),
    sum(failures)::int, percentile_cont(0.5) WITHIN GROUP (ORDER BY duration) FILTER (WHERE status = 'succeeded'),
    (SELECT count(*) FROM newest)
FROM sampled GROUP BY name ORDER BY avg(position), name
"""

# List the versions of the code that a pipeline's newest tasks began or ended with.
CODE_VERSIONS: Final = f"""
WITH {NEWEST}
SELECT code, max(version), count(*), max(created_at)
FROM (
    SELECT unnest(ARRAY[code_began] || CASE WHEN code_ended NOT IN ('', code_began) THEN ARRAY[code_ended] END) AS code,
        version, created_at
    FROM newest
) AS versions
WHERE code <> '' GROUP BY code ORDER BY max(created_at) DESC LIMIT 10
"""
