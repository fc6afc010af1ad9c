"""How pipelines and their steps do, from a bounded number of rows read by an index.

`LOADS`: running and queued tasks; `STEP_FIGURES`: times and failures of steps; `CODE_SEEN`: versions of the code.
"""

from __future__ import annotations

from typing import Final

COUNTED_MOST: Final = 1_000
"""More of anything than these are shown as "1,000+"."""
RECENT_TASKS: Final = 500
RECENT_STEPS: Final = 20_000

# Count the slots in use and the queued tasks of each pipeline, up to a cap. Each count reads from a name on, in an
# order, and filters afterwards: only one index fits, and no more rows are read than the limit says. The planner takes
# another way only while the table is so small that reading all of it costs no more.
LOADS: Final = f"""
SELECT known.name, (
    SELECT count(*) FROM (
        SELECT place.slot_pipeline FROM taskqueue_task place WHERE place.slot_pipeline >= known.name
        ORDER BY place.slot_pipeline, place.concurrency_key LIMIT {COUNTED_MOST + 1}
    ) AS places WHERE slot_pipeline = known.name
), least({COUNTED_MOST + 1}, (
    SELECT count(*) FROM (
        SELECT going.ready_queue FROM taskqueue_task going WHERE going.ready_queue >= known.name
        ORDER BY going.ready_queue, going.sort_at, going.id LIMIT {COUNTED_MOST + 1}
    ) AS queue WHERE ready_queue = known.name
) + (
    SELECT count(*) FROM (
        SELECT fresh.ready_queue FROM taskqueue_task fresh WHERE fresh.ready_queue >= known.name || '+'
        ORDER BY fresh.ready_queue, fresh.sort_at, fresh.id LIMIT {COUNTED_MOST + 1}
    ) AS queue WHERE ready_queue = known.name || '+'
) + (
    SELECT count(*) FROM (
        SELECT kept.blocked_queue FROM taskqueue_task kept WHERE kept.blocked_queue >= known.name
        ORDER BY kept.blocked_queue, kept.concurrency_key, kept.sort_at, kept.id LIMIT {COUNTED_MOST + 1}
    ) AS queue WHERE blocked_queue = known.name
))::int
FROM (SELECT name COLLATE "C" AS name FROM unnest(%(names)s::text[]) AS name) AS known
"""

# The newest tasks of a pipeline. Branches of parallel steps count with their parent.
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
STEP_FIGURES: Final = f"""
WITH {NEWEST}, seen AS MATERIALIZED (
    SELECT step.* FROM newest CROSS JOIN LATERAL (
        SELECT own.name, own.kind, own.status, coalesce(attempts.number, 0) AS failures,
            own.finished_at - own.started_at AS took,
            row_number() OVER (ORDER BY own.id) AS place
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
    sum(failures)::int, percentile_cont(0.5) WITHIN GROUP (ORDER BY took) FILTER (WHERE status = 'succeeded'),
    (SELECT count(*) FROM newest)
FROM seen GROUP BY name ORDER BY avg(place), name
"""

# List the versions of the code that a pipeline's newest tasks began or ended with.
CODE_SEEN: Final = f"""
WITH {NEWEST}
SELECT code, max(version), count(*), max(created_at)
FROM (
    SELECT unnest(ARRAY[code_began] || CASE WHEN code_ended NOT IN ('', code_began) THEN ARRAY[code_ended] END) AS code,
        version, created_at
    FROM newest
) AS each_code
WHERE code <> '' GROUP BY code ORDER BY max(created_at) DESC LIMIT 10
"""
