"""Admission: give tasks of limited pipelines their slots.

A task of a limited pipeline waits until it has a slot (`Task.slot_acquired_at`); then it is claimed like all others.
Its pipeline's concurrency keys are served round robin: one index probe per key, from the key after the last one served.
So neither a long queue of one key nor the number of tasks makes a claim slower.
"""

from __future__ import annotations

from typing import Final

from taskqueue.engine.sql.queues import LIMITS_STEPS, LIMITS_TASKS, PIPELINE_QUEUE, is_taken, rank

# The time between two uses of a rate. Rounded up to a whole microsecond, as `policies.Rate.interval` is: with three
# per second in 0.999,999 s a fourth would fit into the second.
RATE_SPACING: Final = """(
    ceil(extract(epoch FROM coalesce(rate.per, rate.declared_per)) * 1000000
        / coalesce(rate.count, rate.declared_count))::bigint * interval '1 microsecond'
)"""

# The queues of the pipelines that this process has the code of, by one index probe each: the first task that has a
# slot, the first that has not started and has no key, and whether any waits in the queue of its key.
QUEUE_HEADS: Final = """queues AS MATERIALIZED (
    SELECT code.name, code.fingerprint, (
        SELECT queue.sort_at FROM taskqueue_task queue
        WHERE queue.ready_queue = code.name COLLATE "C"
        ORDER BY queue.sort_at, queue.id LIMIT 1
    ) AS ready_at, (
        SELECT queue.sort_at FROM taskqueue_task queue
        WHERE queue.ready_queue = (code.name || '+') COLLATE "C"
        ORDER BY queue.sort_at, queue.id LIMIT 1
    ) AS unstarted_at, (
        SELECT true FROM taskqueue_task queue
        WHERE queue.blocked_queue = code.name COLLATE "C"
        ORDER BY queue.concurrency_key, queue.sort_at, queue.id LIMIT 1
    ) AS has_keyed
    FROM unnest(%(pipelines)s::text[], %(codes)s::text[]) AS code (name, fingerprint)
)"""


def active_pipelines(condition: str = "", more: str = "") -> str:
    """The pipelines with tasks in a queue that are not paused, with their limits.

    Tasks in the queue of a key need admission also when there is no limit any more: the code may have had a key when
    they were created.
    """
    return f"""{QUEUE_HEADS}, active AS MATERIALIZED (
    SELECT pipeline.name, queues.fingerprint, queues.ready_at, queues.unstarted_at,
        coalesce(concurrency.tasks, concurrency.declared_tasks) AS tasks,
        coalesce(concurrency.tasks_per_key, concurrency.declared_tasks_per_key) AS tasks_per_key,
        {LIMITS_TASKS} OR queues.has_keyed IS NOT NULL AS is_limited,
        queues.unstarted_at IS NOT NULL OR queues.has_keyed IS NOT NULL AS has_starts,
        {LIMITS_STEPS} AS has_step_limit,
        -- Whether its only limit is that of its tasks, so that a task that ends can pass its slot on.
        coalesce(concurrency.tasks, concurrency.declared_tasks) IS NOT NULL
            AND coalesce(concurrency.tasks_per_key, concurrency.declared_tasks_per_key) IS NULL
            AND concurrency.rate_id IS NULL AND queues.has_keyed IS NULL AS passes_slot,
        concurrency.rate_id, concurrency.rate_is_keyed, coalesce(concurrency.last_served_key, '') AS last_served_key,
        {PIPELINE_QUEUE} AS pipeline_queue{more}
    FROM queues
    JOIN taskqueue_pipeline pipeline ON pipeline.name = queues.name COLLATE "C" AND pipeline.paused_at IS NULL
    LEFT JOIN taskqueue_concurrencylimit concurrency ON concurrency.pipeline_id = pipeline.name
    WHERE (queues.ready_at IS NOT NULL OR queues.unstarted_at IS NOT NULL OR queues.has_keyed IS NOT NULL){condition}
)"""


# Of these the ones in the queues that this process takes: the named queues, or all but the named ones. `queue_rank` is
# the position of the pipeline's queue among those that are taken in strict order; 0 for all without it.
ACTIVE_PIPELINES: Final = active_pipelines(
    f"\n        AND {is_taken(PIPELINE_QUEUE)}",
    f",\n        {rank(PIPELINE_QUEUE)} AS queue_rank",
)

# The rate limit of a pipeline's starts. Times are reserved a minute ahead, or one interval if that is longer.
START_RATE: Final = f"""LEFT JOIN LATERAL (
    SELECT rounded.spacing, rounded.spacing * (coalesce(rate.burst, rate.declared_burst) - 1) AS tolerance,
        greatest(rounded.spacing, interval '1 minute') AS horizon
    FROM taskqueue_ratelimit rate CROSS JOIN LATERAL (SELECT {RATE_SPACING} AS spacing) AS rounded
    WHERE rate.name = active.rate_id
) AS start_rate ON true"""

KEYS_PER_CLAIM: Final = 16
"""Keys that a claim reads in one pipeline whose keys are all full. They cost half of the claim."""
KEYS_PER_ADMISSION: Final = 64
"""Keys that ADMIT reads."""
KEYS_PER_SWEEP: Final = 1000
"""Keys that ADVANCE_ROUND_ROBIN reads, once a second, when the keys that claims read are full."""


def keys_in_turn(limit: int) -> str:
    """The keys of one pipeline that have tasks to start, round robin: those after the last one served, then the others.

    The empty key is the queue of tasks without a key. The next key is found before it is compared with the last one
    served: within the probe, the comparison would filter all tasks behind it.
    """
    return f"""keys AS (
    SELECT 0 AS lap, active.last_served_key::text COLLATE "C" AS concurrency_key, NULL::timestamptz AS sort_at,
        0 AS position, NULL::text COLLATE "C" AS previous_key
    UNION ALL
    SELECT following.lap, following.concurrency_key, following.sort_at, keys.position + 1, keys.concurrency_key
    FROM keys CROSS JOIN LATERAL (
        SELECT keys.lap, next.concurrency_key, next.sort_at FROM (
            SELECT queue.concurrency_key::text COLLATE "C" AS concurrency_key, queue.sort_at
            FROM taskqueue_task queue
            WHERE queue.blocked_queue = active.name AND queue.concurrency_key > keys.concurrency_key
            ORDER BY queue.concurrency_key, queue.sort_at, queue.id LIMIT 1
        ) AS next
        WHERE keys.lap = 0 OR next.concurrency_key <= active.last_served_key
        UNION ALL
        SELECT 1, ''::text COLLATE "C", active.unstarted_at WHERE keys.lap = 0
        LIMIT 1
    ) AS following
    WHERE keys.position < {limit}
)"""


# The keys with free slots: up to the limit of the key, none while its rate is used up.
KEY_CAPACITY: Final = """CROSS JOIN LATERAL (
    SELECT CASE WHEN active.tasks_per_key IS NULL OR keys.concurrency_key = '' THEN 100 ELSE active.tasks_per_key - (
        SELECT count(*) FROM (
            SELECT FROM taskqueue_task slot
            WHERE slot.slot_pipeline = active.name AND slot.concurrency_key = keys.concurrency_key
            ORDER BY slot.slot_pipeline, slot.concurrency_key LIMIT active.tasks_per_key
        ) AS slots
    ) END AS free_slots
) AS key_capacity
WHERE keys.sort_at IS NOT NULL AND key_capacity.free_slots > 0 AND (active.rate_id IS NULL OR coalesce((
    SELECT greatest(used.theoretical_arrival_at - start_rate.tolerance,
        used.blocked_until) <= statement_timestamp() + start_rate.horizon
    FROM taskqueue_ratelimitbucket used
    WHERE used.rate_id = active.rate_id
        AND used.key = CASE WHEN active.rate_is_keyed THEN keys.concurrency_key ELSE '' END COLLATE "C"
), true))"""

# How many tasks to admit. A rate reserves the times of its next hundred starts at once.
REQUESTED: Final = "CASE WHEN active.rate_id IS NULL THEN %(most)s::int ELSE 100 END"

# How many tasks of each key: no more rows are locked than can start.
FAIR_SHARE: Final = f"ceil(({REQUESTED})::float / (SELECT count(*) FROM open_keys))"


def used_slots(limit: str) -> str:
    """How many slots of the pipeline are in use, counted up to a limit."""
    return f"""(
    SELECT count(*) FROM (
        SELECT FROM taskqueue_task slot WHERE slot.slot_pipeline = active.name
        ORDER BY slot.slot_pipeline, slot.concurrency_key LIMIT {limit}
    ) AS slots
)"""


# How many slots of the pipeline are free; null without a limit.
FREE_SLOTS: Final = f"active.tasks - {used_slots('active.tasks')}"


def count_as_blocked(condition: str) -> str:
    """The assignments that count the time of a task since its last change as blocked, if a condition holds."""
    return f"""blocked_seconds = CASE WHEN {condition} THEN coalesce(task.blocked_seconds, 0)
            + extract(epoch FROM statement_timestamp() - coalesce(task.since, task.created_at))::float
            ELSE task.blocked_seconds END,
        since = CASE WHEN {condition} THEN statement_timestamp() ELSE task.since END"""


# The limited pipelines of which a task could be admitted, with that task's position in the queue.
ADMISSIBLE: Final = f"""admissible AS MATERIALIZED (
    SELECT active.name, active.queue_rank, first.sort_at
    FROM active {START_RATE} CROSS JOIN LATERAL (
        WITH RECURSIVE {keys_in_turn(KEYS_PER_CLAIM)}
        SELECT keys.sort_at FROM keys {KEY_CAPACITY} LIMIT 1
    ) AS first
    WHERE active.is_limited AND active.has_starts AND NOT (active.name = ANY (%(skipped)s::text[]))
        AND coalesce({FREE_SLOTS} > 0, true)
)"""

# The limited pipelines whose first keys are all full: ADVANCE_ROUND_ROBIN goes on behind them.
FULL_ROUNDS: Final = f"""full_rounds AS MATERIALIZED (
    SELECT active.name FROM active CROSS JOIN LATERAL (
        WITH RECURSIVE {keys_in_turn(KEYS_PER_CLAIM)}
        SELECT FROM keys WHERE keys.position = {KEYS_PER_CLAIM}
    ) AS final
    WHERE active.is_limited AND active.has_starts
        AND NOT EXISTS (SELECT FROM admissible WHERE admissible.name = active.name)
        AND coalesce({FREE_SLOTS} > 0, true)
)"""

# Advance the round robin over full keys: the next claim begins at the first key with a free slot, or behind the last
# key read. Pipelines whose limits another process has locked are skipped: it advances them itself.
ADVANCE_ROUND_ROBIN: Final = f"""
WITH {ACTIVE_PIPELINES}, {ADMISSIBLE}, {FULL_ROUNDS}, next_round AS MATERIALIZED (
    SELECT full_rounds.name, found.previous_key, found.previous_key IS NOT NULL AS has_free_slot
    FROM full_rounds JOIN active USING (name) {START_RATE} LEFT JOIN LATERAL (
        WITH RECURSIVE {keys_in_turn(KEYS_PER_SWEEP)}
        SELECT keys.previous_key FROM keys {KEY_CAPACITY} LIMIT 1
    ) AS found ON true
), final AS MATERIALIZED (
    SELECT active.name, last.concurrency_key FROM next_round JOIN active USING (name) CROSS JOIN LATERAL (
        WITH RECURSIVE {keys_in_turn(KEYS_PER_SWEEP)}
        SELECT keys.concurrency_key FROM keys WHERE keys.position = {KEYS_PER_SWEEP}
    ) AS last
    WHERE NOT next_round.has_free_slot
), locked AS MATERIALIZED (
    SELECT concurrency.pipeline_id FROM taskqueue_concurrencylimit concurrency JOIN next_round
        ON next_round.name = concurrency.pipeline_id
    ORDER BY concurrency.pipeline_id FOR NO KEY UPDATE OF concurrency SKIP LOCKED
)
UPDATE taskqueue_concurrencylimit concurrency
SET last_served_key = coalesce(next_round.previous_key, final.concurrency_key)
FROM locked JOIN next_round ON next_round.name = locked.pipeline_id LEFT JOIN final ON final.name = next_round.name
WHERE concurrency.pipeline_id = locked.pipeline_id
    AND coalesce(next_round.previous_key, final.concurrency_key) IS NOT NULL
RETURNING next_round.has_free_slot
"""

# Lock a pipeline's limits, before GRANT_SLOTS.
LOCK_CONCURRENCY_LIMIT: Final = (
    "SELECT pipeline_id FROM taskqueue_concurrencylimit WHERE pipeline_id = %(limited)s::text FOR NO KEY UPDATE"
)

# Lock a pipeline's limits, before ADMIT. For the rest of the transaction PostgreSQL uses the plans that it has. Else it
# would make a new plan for the values of each admission, since that seems to cost less, and takes three times as long.
LOCK_FOR_ADMISSION: Final = """
SELECT set_config('plan_cache_mode', 'force_generic_plan', true) FROM taskqueue_concurrencylimit
WHERE pipeline_id = %(limited)s::text FOR NO KEY UPDATE
"""

# The keys with free slots, round robin. The key of the task that has just ended comes last: keys_in_turn may stop
# before it.
OPEN_KEYS: Final = f"""open_keys AS MATERIALIZED (
    SELECT * FROM (
        SELECT keys.concurrency_key, keys.position, keys.free_slots FROM (
            SELECT keys.concurrency_key, keys.position, key_capacity.free_slots FROM keys
            {KEY_CAPACITY}
            UNION ALL
            SELECT keys.concurrency_key, keys.position, key_capacity.free_slots FROM (
                SELECT %(freed_key)s::text COLLATE "C" AS concurrency_key, NULL::int AS position, (
                    SELECT queue.sort_at FROM taskqueue_task queue
                    WHERE queue.blocked_queue = active.name AND queue.concurrency_key = %(freed_key)s::text COLLATE "C"
                    ORDER BY queue.sort_at, queue.id LIMIT 1
                ) AS sort_at
                WHERE %(freed_key)s::text <> '' AND NOT EXISTS (
                    SELECT FROM keys WHERE keys.concurrency_key = %(freed_key)s::text COLLATE "C" AND keys.position > 0
                )
            ) AS keys
            {KEY_CAPACITY}
        ) AS keys LIMIT {REQUESTED}
    ) AS first LIMIT 100
)"""

# Give slots to the tasks that may start. Runs under the lock of LOCK_FOR_ADMISSION, in a statement after it, to
# see what the last holder of the lock admitted. A locked task is skipped. The limits of 100 are for the planner, as
# in a claim. Time counts as blocked for a task that gets the last slot, of all or of its key, when another task ends,
# and for one that gets a later time; a task that a free worker admits was queued. Returns the pipeline's queue too:
# when it was moved while a task was executed, workers of other queues have to claim what is admitted.
ADMIT: Final = f"""
WITH {active_pipelines()}, starts AS MATERIALIZED (
    SELECT start.id, start.concurrency_key, start.position, active.rate_id, start_rate.spacing,
        start_rate.tolerance, start_rate.horizon,
        %(at_task_end)s::boolean AND (
            free_slots.number <= 1 OR start.free_slots <= 1 AND start.concurrency_key = %(freed_key)s::text
        ) IS TRUE AS freed,
        CASE WHEN active.rate_is_keyed THEN start.concurrency_key ELSE '' END AS rate_key
    FROM active {START_RATE} CROSS JOIN LATERAL (SELECT {FREE_SLOTS} AS number OFFSET 0) AS free_slots
    CROSS JOIN LATERAL (SELECT * FROM (
        WITH RECURSIVE {keys_in_turn(KEYS_PER_ADMISSION)}, {OPEN_KEYS}, candidates AS (
            SELECT candidate.id, open_keys.concurrency_key, open_keys.position, open_keys.free_slots,
                row_number() OVER (
                    PARTITION BY open_keys.concurrency_key ORDER BY candidate.sort_at, candidate.id
                ) AS number
            FROM open_keys CROSS JOIN LATERAL (
                (SELECT free.id, free.sort_at FROM (
                    SELECT queue.id, queue.sort_at FROM taskqueue_task queue
                    WHERE open_keys.concurrency_key <> '' AND queue.blocked_queue = active.name
                        AND queue.concurrency_key = open_keys.concurrency_key
                    ORDER BY queue.sort_at, queue.id
                    LIMIT (SELECT 100)
                    FOR NO KEY UPDATE SKIP LOCKED
                ) AS free LIMIT least(open_keys.free_slots, {FAIR_SHARE}))
                UNION ALL
                (SELECT free.id, free.sort_at FROM (
                    SELECT queue.id, queue.sort_at FROM taskqueue_task queue
                    WHERE open_keys.concurrency_key = '' AND queue.ready_queue = active.name || '+'
                    ORDER BY queue.sort_at, queue.id
                    LIMIT (SELECT 100)
                    FOR NO KEY UPDATE SKIP LOCKED
                ) AS free LIMIT least(open_keys.free_slots, {FAIR_SHARE}))
            ) AS candidate
        )
        SELECT candidates.id, candidates.concurrency_key, candidates.position, candidates.free_slots FROM candidates
        ORDER BY candidates.number, candidates.position NULLS LAST
        LIMIT least(coalesce(free_slots.number, 100), {REQUESTED})
    ) AS start LIMIT 100) AS start
    WHERE active.is_limited
), numbered AS (
    SELECT starts.*, row_number() OVER (PARTITION BY rate_key ORDER BY position NULLS LAST, id) AS number FROM starts
), reserved AS MATERIALIZED (
    -- Only tasks whose time comes soon. Later ones are reserved later, so that a changed rate counts at once.
    SELECT numbered.* FROM numbered LEFT JOIN taskqueue_ratelimitbucket used
        ON used.rate_id = numbered.rate_id AND used.key = numbered.rate_key COLLATE "C"
    WHERE numbered.rate_id IS NULL
        OR greatest(used.theoretical_arrival_at - tolerance, used.blocked_until, statement_timestamp())
            + (number - 1) * spacing - greatest(tolerance, interval '0') <= statement_timestamp() + horizon
), reservations AS MATERIALIZED (
    SELECT rate_id, rate_key, spacing, tolerance, count(*) AS number FROM reserved
    WHERE rate_id IS NOT NULL GROUP BY rate_id, rate_key, spacing, tolerance
), used AS (
    INSERT INTO taskqueue_ratelimitbucket AS used (rate_id, key, theoretical_arrival_at, admitted, last_admitted_at,
        block_reason)
    SELECT rate_id, rate_key, statement_timestamp() + number * spacing, number, statement_timestamp(), ''
    FROM reservations
    ON CONFLICT (rate_id, key) DO UPDATE
    SET theoretical_arrival_at = greatest(
            used.theoretical_arrival_at, statement_timestamp(),
            used.blocked_until + (SELECT tolerance FROM reservations WHERE rate_key = EXCLUDED.key)
        ) + EXCLUDED.admitted * (SELECT spacing FROM reservations WHERE rate_key = EXCLUDED.key),
        admitted = used.admitted + EXCLUDED.admitted, last_admitted_at = statement_timestamp()
    RETURNING used.key, used.theoretical_arrival_at
), timed AS (
    SELECT reserved.id, reserved.rate_id, reserved.freed,
        used.theoretical_arrival_at
            - (reservations.number - reserved.number + 1) * reservations.spacing - reservations.tolerance AS allowed_at
    FROM reserved
    LEFT JOIN reservations ON reservations.rate_key = reserved.rate_key
    LEFT JOIN used ON used.key = reserved.rate_key
), admitted AS (
    -- Locked above, so still queued. A condition on the status would lead to the index of statuses.
    UPDATE taskqueue_task task
    SET slot_acquired_at = statement_timestamp(),
        -- Queued also when its time comes soon: the worker that claims it waits for that.
        status = CASE WHEN timed.allowed_at > statement_timestamp() + %(brief)s::interval THEN 'waiting'
            ELSE 'queued' END,
        -- Until START_TASK lets it pass: a start that is late must not come together with the next one.
        blocked_on = coalesce(timed.rate_id, ''),
        due_at = greatest(timed.allowed_at, task.due_at),
        sort_at = greatest(timed.allowed_at, task.due_at) - make_interval(secs => task.priority),
        {count_as_blocked("blocked.was_blocked")}
    FROM timed CROSS JOIN LATERAL (
        SELECT timed.freed OR coalesce(timed.allowed_at > statement_timestamp(), false) AS was_blocked
    ) AS blocked
    WHERE task.id = timed.id AND task.id = ANY (ARRAY(SELECT id FROM timed))
    RETURNING task.id
), final AS MATERIALIZED (
    -- All keys that were read are full: the next admission goes on behind them.
    SELECT final.concurrency_key FROM active CROSS JOIN LATERAL (
        WITH RECURSIVE {keys_in_turn(KEYS_PER_ADMISSION)}
        SELECT keys.concurrency_key FROM keys WHERE keys.position = {KEYS_PER_ADMISSION}
    ) AS final
    WHERE active.is_limited AND NOT EXISTS (SELECT FROM starts WHERE position IS NOT NULL)
), advanced AS (
    UPDATE taskqueue_concurrencylimit concurrency SET last_served_key = advanced_to.concurrency_key
    FROM (
        (
            SELECT starts.concurrency_key FROM starts
            WHERE starts.position IS NOT NULL ORDER BY starts.position DESC LIMIT 1
        )
        UNION ALL
        SELECT final.concurrency_key FROM final
        LIMIT 1
    ) AS advanced_to
    WHERE concurrency.pipeline_id = %(limited)s::text
)
SELECT admitted.id, active.pipeline_queue FROM admitted CROSS JOIN active
"""
