"""The queue of a pipeline, and which workers take a queue."""

from __future__ import annotations

from typing import Final

# A pipeline's queue: one that a user has set replaces the code's.
PIPELINE_QUEUE: Final = "coalesce(nullif(pipeline.queue, ''), pipeline.declared_queue)"


def takes_queue(queue: str) -> str:
    """Whether a worker takes a queue: its row names the queue or none, and does not exclude it."""
    return f"""((worker.queues = '[]' OR worker.queues @> to_jsonb({queue}))
        AND NOT worker.not_queues @> to_jsonb({queue}))"""


# Whether a pipeline's `concurrency` row limits its tasks, or the steps that execute at a time.
LIMITS_TASKS: Final = """coalesce(
            concurrency.tasks, concurrency.declared_tasks, concurrency.tasks_per_key, concurrency.declared_tasks_per_key
        ) IS NOT NULL OR concurrency.rate_id IS NOT NULL"""
LIMITS_STEPS: Final = """coalesce(
            concurrency.steps, concurrency.declared_steps, concurrency.steps_per_key, concurrency.declared_steps_per_key
        ) IS NOT NULL"""


def is_taken(queue: str) -> str:
    """Whether this process takes a queue: it is one of the named ones, or none of those that it excludes."""
    return f"({queue} = ANY (%(queues)s::text[])) <> %(queues_excluded)s::bool"


def rank(queue: str) -> str:
    """The position of a queue among those that are taken in strict order; 0 for all without it."""
    return f"coalesce(array_position(%(strict_queues)s::text[], {queue}::text), 0)"


def step_queue_walk(next_from: str = "heads.ready_queue") -> str:
    """`heads`: the queues of steps with tasks in them, by pipeline, each with its first task, by one index probe each.

    The `ready_queue` of such a task is an @, the step's queue, a slash and the pipeline. The walk goes from one to the
    next instead of through a list, so that tasks of code that is no longer deployed are found too.
    """
    return f"""WITH RECURSIVE heads AS (
        (SELECT queue.ready_queue, queue.step_queue, queue.pipeline_id, queue.sort_at FROM taskqueue_task queue
        WHERE queue.ready_queue > '@' AND queue.ready_queue < 'A'
        ORDER BY queue.ready_queue, queue.sort_at, queue.id LIMIT 1)
        UNION ALL
        SELECT following.* FROM heads CROSS JOIN LATERAL (
            SELECT queue.ready_queue, queue.step_queue, queue.pipeline_id, queue.sort_at FROM taskqueue_task queue
            WHERE queue.ready_queue > {next_from} AND queue.ready_queue < 'A'
            ORDER BY queue.ready_queue, queue.sort_at, queue.id LIMIT 1
        ) AS following
    )"""


# Of a queue that this process does not take one task is read: a 0 sorts right behind the slash that all of it have.
NEXT_TAKEN: Final = (
    f"CASE WHEN {is_taken('heads.step_queue')} THEN heads.ready_queue ELSE '@' || heads.step_queue || '0' END"
)

# The queues of steps that this process takes, of the pipelines that it has the code of and that are not paused.
STEP_QUEUE_HEADS: Final = f"""step_queue_heads AS MATERIALIZED (
    {step_queue_walk(NEXT_TAKEN)}
    SELECT heads.ready_queue, code.fingerprint, {LIMITS_TASKS} AS is_limited, {LIMITS_STEPS} AS has_step_limit,
        -- Its end goes through the admission of its pipeline, if that has a limit.
        false AS passes_slot, heads.sort_at, heads.step_queue AS from_queue, {rank("heads.step_queue")} AS queue_rank,
        {PIPELINE_QUEUE} AS pipeline_queue
    FROM heads
    JOIN unnest(%(pipelines)s::text[], %(codes)s::text[]) AS code (name, fingerprint)
        ON code.name = heads.pipeline_id COLLATE "C"
    JOIN taskqueue_pipeline pipeline ON pipeline.name = heads.pipeline_id AND pipeline.paused_at IS NULL
    LEFT JOIN taskqueue_concurrencylimit concurrency ON concurrency.pipeline_id = pipeline.name
    WHERE {is_taken("heads.step_queue")}
)"""


def step_queue_depth(cap: int) -> str:
    """The tasks in the queues of steps, by pipeline, each queue counted up to the cap."""
    return f"""step_queue_depth AS MATERIALIZED (
    {step_queue_walk()}
    SELECT heads.pipeline_id AS pipeline, heads.step_queue AS queue, depth.*
    FROM heads CROSS JOIN LATERAL (
        SELECT count(*) AS number, count(*) FILTER (WHERE parallel_step <> '') AS parallel_steps, min(due_at) AS oldest
        FROM (
            SELECT queue.due_at, queue.parallel_step FROM taskqueue_task queue
            -- Not an equality: only one index has this order.
            WHERE queue.ready_queue >= heads.ready_queue AND queue.ready_queue <= heads.ready_queue
            ORDER BY queue.ready_queue, queue.sort_at, queue.id LIMIT {cap}
        ) AS rows
    ) AS depth
)"""


# List the queues of all pipelines and of their steps, with how many live workers take each and can claim.
QUEUE_WORKERS: Final = f"""
WITH worker AS MATERIALIZED (
    SELECT queues, not_queues FROM taskqueue_worker
    WHERE ended_at IS NULL AND heartbeat_at > statement_timestamp() - %(heartbeat_timeout)s::interval
        AND draining_at IS NULL AND claim_error = ''
)
SELECT queue.name, (SELECT count(*) FROM worker WHERE {takes_queue("queue.name")})
FROM (
    SELECT {PIPELINE_QUEUE} AS name FROM taskqueue_pipeline pipeline
    UNION
    SELECT unnest(%(step_queues)s::text[])
    UNION
    SELECT waiting.step_queue FROM (
        {step_queue_walk("'@' || heads.step_queue || '0'")}
        SELECT heads.step_queue FROM heads
    ) AS waiting
) AS queue
ORDER BY queue.name
"""
