"""A task's state: where it stands, what it waits for, and what its pipeline's limits are. For its status and for `why`.

The columns are listed once: the statements select them, and `queries.task_state` makes model instances of them.
"""

from __future__ import annotations

from typing import Final

from taskqueue.engine.sql.run import selected

TASK_COLUMNS: Final = (
    "id",
    "pipeline_id",
    "status",
    "labels",
    "error",
    "due_at",
    "sort_at",
    "concurrency_key",
    "slot_acquired_at",
    "shares_slot",
    "step_queue",
    "worker_id",
    "failures",
    "progress",
    "progress_note",
    "blocked_on",
    "parallel_step",
    "debounce_key",
    "cancel_reason",
    "created_at",
    "started_at",
    "finished_at",
)
PIPELINE_COLUMNS: Final = ("name", "paused_at", "paused_by", "pause_reason", "queue", "declared_queue")
WORKER_COLUMNS: Final = (
    "id", "host", "pid", "thread", "task_id", "step", "step_started_at", "steps", "heartbeat_at",
)  # fmt: skip
LIMIT_COLUMNS: Final = (
    "pipeline_id",
    "tasks",
    "tasks_per_key",
    "steps",
    "steps_per_key",
    "declared_tasks",
    "declared_tasks_per_key",
    "declared_steps",
    "declared_steps_per_key",
    "rate_id",
    "rate_is_keyed",
)
RATE_COLUMNS: Final = ("name", "key", "declared_count", "declared_per", "declared_burst", "count", "per", "burst")
STEP_COLUMNS: Final = (
    "id",
    "key",
    "name",
    "kind",
    "status",
    "failures",
    "input",
    "error",
    "until",
    "child_id",
    "started_at",
)
CHILD_COLUMNS: Final = ("id", "pipeline_id", "status", "slot_acquired_at", "blocked_on", "created_at")
WAIT_COLUMNS: Final = ("id", "step_key", "event", "match")


# Read a task that is not a parallel step, with its pipeline, worker and limits, and the numbers of its steps: finished,
# known to the pipeline, and pending; of these, parallel steps are only counted.
TASK_STATE: Final = f"""
SELECT statement_timestamp(), counts.done,
    (SELECT count(*) FROM taskqueue_pipelinestep known WHERE known.pipeline_id = task.pipeline_id),
    counts.pending, counts.parallel,
    {selected("task", TASK_COLUMNS)},
    {selected("pipeline", PIPELINE_COLUMNS)},
    {selected("worker", WORKER_COLUMNS)},
    {selected("limits", LIMIT_COLUMNS)},
    {selected("rate", RATE_COLUMNS)}
FROM taskqueue_task task
JOIN taskqueue_pipeline pipeline ON pipeline.name = task.pipeline_id
LEFT JOIN taskqueue_worker worker ON worker.id = task.worker_id
LEFT JOIN taskqueue_concurrencylimit limits ON limits.pipeline_id = task.pipeline_id
LEFT JOIN taskqueue_ratelimit rate ON rate.name = limits.rate_id
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE step.status = 'succeeded') AS done,
        count(*) FILTER (WHERE step.status = 'retrying' OR step.status = 'waiting' AND step.kind <> 'parallel')
            AS pending,
        count(*) FILTER (WHERE step.status = 'waiting' AND step.kind = 'parallel') AS parallel
    FROM taskqueue_step step WHERE step.task_id = %(task)s::uuid
) AS counts
WHERE task.id = %(task)s::uuid AND task.parallel_step = ''
"""

# Read the waiting and retrying steps of a task in the order of recording, each with its child; the waiting parallel
# steps only if asked for.
PENDING_STEPS: Final = f"""
SELECT {selected("step", STEP_COLUMNS)}, {selected("child", CHILD_COLUMNS)}
FROM taskqueue_step step
LEFT JOIN LATERAL (SELECT * FROM taskqueue_task WHERE id = step.child_id LIMIT 1) AS child ON true
WHERE step.task_id = %(task)s::uuid AND (
    step.status = 'retrying' OR step.status = 'waiting' AND (%(with_parallel)s::boolean OR step.kind <> 'parallel')
)
ORDER BY step.id
"""

# Read a task's open waits for events, without those that would cancel it.
EVENT_WAITS: Final = f"""
SELECT {selected("wait", WAIT_COLUMNS)}
FROM taskqueue_wait wait
WHERE wait.task_id = %(task)s::uuid AND wait.outcome = '' AND wait.step_key <> ''
ORDER BY wait.step_key, wait.position
"""
