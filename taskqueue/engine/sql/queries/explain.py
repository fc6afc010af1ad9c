"""Why a task is not running. Each statement reads a bounded number of rows by an index."""

from __future__ import annotations

from typing import Final

from taskqueue.engine.sql.queues import takes_queue

QUEUE_COUNT_CAP: Final = 1_000
"""More than these are shown as "more than 1,000"."""

# The tasks that hold a slot of a pipeline, and of one concurrency key. Ranges instead of equalities, and an order:
# then only one index fits, whatever the statistics say. The first range may reach into the next pipeline: check
# `slot_pipeline`.
PIPELINE_SLOTS: Final = """FROM taskqueue_task slot
WHERE slot.slot_pipeline >= %(pipeline)s::text
ORDER BY slot.slot_pipeline, slot.concurrency_key LIMIT %(most)s::int"""
KEY_SLOTS: Final = """FROM taskqueue_task slot
WHERE slot.slot_pipeline IS NOT NULL AND (slot.slot_pipeline, slot.concurrency_key) >= (%(pipeline)s::text,
    %(concurrency_key)s::text)
    AND (slot.slot_pipeline, slot.concurrency_key) <= (%(pipeline)s::text, %(concurrency_key)s::text)
ORDER BY slot.slot_pipeline, slot.concurrency_key
"""

# Tell what may keep a queued task from being claimed: workers, slots (counted up to the limit), and how far the rate
# of its pipeline is reserved.
BLOCKERS: Final = f"""
WITH live AS MATERIALIZED (
    SELECT worker.pipelines @> to_jsonb(%(pipeline)s::text) AS has_code,
        {takes_queue("%(queue)s::text")} AS takes_queue,
        worker.draining_at IS NOT NULL AS is_draining, worker.claim_error <> '' AS cannot_claim,
        CASE WHEN worker.slots > 1 THEN worker.executing >= worker.slots ELSE coalesce((
            SELECT true FROM taskqueue_task task
            WHERE task.worker_id >= worker.id AND task.worker_id <= worker.id AND task.status = 'running'
                AND task.started_at IS NOT NULL
            ORDER BY task.worker_id LIMIT 1
        ), false) END AS is_busy
    FROM taskqueue_worker worker
    WHERE worker.ended_at IS NULL AND worker.heartbeat_at > statement_timestamp() - %(heartbeat_timeout)s::interval
)
SELECT
    (SELECT count(*) FROM live),
    (SELECT count(*) FROM live WHERE has_code),
    (SELECT count(*) FROM live WHERE takes_queue),
    (SELECT count(*) FROM live WHERE takes_queue AND has_code AND NOT is_draining AND NOT cannot_claim),
    (SELECT count(*) FROM live WHERE takes_queue AND has_code AND is_draining),
    (SELECT count(*) FROM live WHERE takes_queue AND has_code AND NOT is_draining AND cannot_claim),
    (SELECT count(*) FROM live WHERE takes_queue AND is_busy),
    CASE WHEN %(most)s::int IS NOT NULL THEN (
        SELECT count(*) FROM (SELECT slot.slot_pipeline {PIPELINE_SLOTS}) AS slots
        WHERE slot_pipeline = %(pipeline)s::text
    ) ELSE 0 END,
    CASE WHEN %(most_per_key)s::int IS NOT NULL AND %(concurrency_key)s::text <> '' THEN (
        SELECT count(*) FROM (SELECT {KEY_SLOTS} LIMIT %(most_per_key)s::int) AS slots
    ) ELSE 0 END,
    used.theoretical_arrival_at, used.blocked_until, coalesce(used.block_reason, ''), statement_timestamp()
FROM (SELECT) AS one
LEFT JOIN taskqueue_ratelimitbucket used ON used.rate_id = %(rate)s::text AND used.key = %(rate_key)s::text
"""

# List tasks that hold a slot: of the pipeline, or of one concurrency key.
SLOT_HOLDERS: Final = f"""
SELECT * FROM (
    SELECT slot.id, slot.slot_pipeline, slot.status, slot.slot_acquired_at {PIPELINE_SLOTS}
) AS slots WHERE %(concurrency_key)s::text IS NULL AND slot_pipeline = %(pipeline)s::text
UNION ALL
SELECT * FROM (
    SELECT slot.id, slot.slot_pipeline, slot.status, slot.slot_acquired_at {KEY_SLOTS} LIMIT %(most)s::int
) AS slots WHERE %(concurrency_key)s::text IS NOT NULL
"""

# Read a hundred rows at a time, compared as whole rows in the order of one index: whatever the statistics say, no
# other plan seems better, and no more rows are read than are counted.
PAGE_SIZE: Final = 100


def tasks_before(name: str, columns: str, values: str, *, holds: str = "") -> str:
    """The tasks of a queue before this one, counted up to the cap: `{name}_head` and `{name}_count`."""
    first = columns.partition(",")[0]
    order = f"{columns}, queue.sort_at, queue.id"
    following = f"""SELECT queue.sort_at, queue.id FROM taskqueue_task queue
WHERE {first} IS NOT NULL{holds}
    AND ({order}) > ({values}, {name}.sort_at, {name}.id)
    AND ({order}) < ({values}, %(sort_at)s::timestamptz, %(task)s::uuid)
ORDER BY {order}"""
    return f"""{name} AS (
    SELECT '-infinity'::timestamptz AS sort_at, '00000000-0000-0000-0000-000000000000'::uuid AS id, 0 AS number
    UNION ALL
    SELECT following.sort_at, following.id, {name}.number + {PAGE_SIZE}
    FROM {name} CROSS JOIN LATERAL (
        {following} OFFSET {PAGE_SIZE - 1} LIMIT 1
    ) AS following
    WHERE {name}.number < {QUEUE_COUNT_CAP}
), {name}_head AS (
    SELECT following.sort_at, following.id
    FROM {name} CROSS JOIN LATERAL (
        {following} LIMIT 1
    ) AS following
    WHERE {name}.number = 0
), {name}_count AS (
    SELECT {name}.number + (
        SELECT count(*) FROM (
            {following} LIMIT {PAGE_SIZE}
        ) AS rest
    ) AS number
    FROM {name} ORDER BY {name}.number DESC LIMIT 1
)"""


# In the queue of a step all tasks have started.
IN_PIPELINE_QUEUE: Final = " AND %(started_queue)s::text = %(pipeline)s::text"
STARTED_BEFORE: Final = tasks_before("started", "queue.ready_queue", "%(started_queue)s::text")
UNKEYED_BEFORE: Final = tasks_before(
    "fresh",
    "queue.ready_queue",
    "%(pipeline)s::text || '+'",
    holds=f"{IN_PIPELINE_QUEUE} AND %(concurrency_key)s::text = ''",
)
KEYED_BEFORE: Final = tasks_before(
    "grouped",
    "queue.blocked_queue, queue.concurrency_key",
    "%(pipeline)s::text, %(concurrency_key)s::text",
    holds=IN_PIPELINE_QUEUE,
)
STARTS_SAMPLED: Final = 1_000

# Count the tasks before a queued one: started tasks of its pipeline, and unstarted tasks of its own queue; in the queue
# of a step, the started tasks of its pipeline there. Also the
# number of its pipeline's starts in the last five minutes, among the tasks created last before the head of the queue.
QUEUE_POSITION: Final = f"""
WITH RECURSIVE {STARTED_BEFORE}, {UNKEYED_BEFORE}, {KEYED_BEFORE}, head AS (
    SELECT id FROM (
        SELECT * FROM started_head UNION ALL SELECT * FROM fresh_head UNION ALL SELECT * FROM grouped_head
    ) AS heads
    ORDER BY sort_at, id LIMIT 1
), recent AS (
    SELECT coalesce((SELECT id FROM head), %(task)s::uuid) AS id, false AS counts, NULL::timestamptz AS started_at,
        0 AS number
    UNION ALL
    SELECT older.id, older.counts, older.started_at, recent.number + 1
    FROM recent CROSS JOIN LATERAL (
        SELECT task.id, task.pipeline_id = %(pipeline)s::text AND task.parallel_step = '' AS counts, task.started_at
        FROM taskqueue_task task WHERE task.id < recent.id ORDER BY task.id DESC LIMIT 1
    ) AS older
    WHERE recent.number < {STARTS_SAMPLED}
)
SELECT
    (SELECT number FROM started_count) + (SELECT number FROM fresh_count) + (SELECT number FROM grouped_count),
    count(*), extract(epoch FROM statement_timestamp() - min(started_at))::float
FROM recent
WHERE counts AND started_at > statement_timestamp() - interval '5 minutes'
"""

# So few that no plan can seem better than the index, also without statistics.
TIMERS_READ: Final = 500
# Count the timers before a task's that wait for the same rate, and tell whether all of them were read.
RATE_QUEUE_POSITION: Final = f"""
SELECT count(*) FILTER (WHERE blocked_on = %(rate)s::text AND (
    %(concurrency_key)s::text IS NULL OR pipeline_id = %(pipeline)s::text
        AND concurrency_key = %(concurrency_key)s::text
)), count(*) <= {TIMERS_READ}
FROM (
    SELECT task.blocked_on, task.pipeline_id, task.concurrency_key, task.timer_at FROM taskqueue_task task
    WHERE task.timer_at IS NOT NULL
    ORDER BY task.timer_at LIMIT {TIMERS_READ + 1}
) AS timers
WHERE timer_at < %(due_at)s::timestamptz
"""
