"""Rate limits by GCRA, as `policies.Rate.next_free` computes it, for steps and for starts of tasks.

Each row of `taskqueue_ratelimitbucket` has two counts. `theoretical_arrival_at` counts the reserved times, also future
ones, so each is reserved once. `passes_at` counts what has passed, and when it really did: a step that comes late,
because workers were busy, does not pass together with the next one.
"""

from __future__ import annotations

from typing import Final

from taskqueue.engine.sql.flow_control.admission import RATE_SPACING
from taskqueue.engine.sql.journal import LEASED

# The GCRA values of the rate: the spacing of two uses, and the tolerance of a burst.
RATE: Final = f"""rate_values AS MATERIALIZED (
    SELECT rounded.spacing, rounded.spacing * (coalesce(rate.burst, rate.declared_burst) - 1) AS tolerance,
        rate.changed_at
    FROM taskqueue_ratelimit rate CROSS JOIN LATERAL (SELECT {RATE_SPACING} AS spacing) AS rounded
    WHERE rate.name = %(rate)s::text
)"""

# Until when a worker waits for a reserved time instead of giving the task back.
SOON: Final = "statement_timestamp() + %(brief)s::interval"

# Reserve a time, by one upsert on the rate's row. In READ COMMITTED the second of two callers waits for the first
# one's lock, and calculates with what it has written.
RESERVATION: Final = f"""reservation AS (
    INSERT INTO taskqueue_ratelimitbucket AS used (rate_id, key, theoretical_arrival_at, passes_at, admitted,
        last_admitted_at, block_reason)
    SELECT %(rate)s::text, %(use)s::text, statement_timestamp() + spacing, statement_timestamp() + spacing, 1,
        statement_timestamp(), ''
    FROM leased CROSS JOIN rate_values
    ON CONFLICT (rate_id, key) DO UPDATE SET (theoretical_arrival_at, passes_at, admitted, last_admitted_at) = (
        SELECT next.at + rate_values.spacing,
            CASE WHEN allowed.now THEN next.at + rate_values.spacing ELSE used.passes_at END,
            CASE WHEN allowed.now THEN used.admitted + 1 ELSE used.admitted END,
            CASE WHEN allowed.now THEN greatest(allowed.at, statement_timestamp()) ELSE used.last_admitted_at END
        FROM rate_values CROSS JOIN LATERAL (
            SELECT greatest(
                used.theoretical_arrival_at, used.passes_at, statement_timestamp(),
                used.blocked_until + rate_values.tolerance
            ) AS at
        ) AS next CROSS JOIN LATERAL (
            SELECT next.at - rate_values.tolerance AS at, next.at - rate_values.tolerance <= {SOON} AS now
        ) AS allowed
    )
    RETURNING used.theoretical_arrival_at - (SELECT spacing + tolerance FROM rate_values) AS allowed_at
)"""

# Reserve a time for a step. A future one is recorded with the step in this statement, so that one attempt uses the
# rate once.
RESERVE_STEP: Final = f"""
WITH {LEASED}, {RATE}, {RESERVATION}, waiting AS (
    INSERT INTO taskqueue_step AS existing (
        task_id, key, name, kind, status, failures, input, input_hash, until, started_at, finished_at
    )
    SELECT leased.id, %(key)s::text, %(name)s::text, 'step', 'waiting', 0, %(input)s::jsonb, %(input_hash)s::text,
        reservation.allowed_at, statement_timestamp(), statement_timestamp()
    FROM leased CROSS JOIN reservation
    WHERE reservation.allowed_at > {SOON}
    ON CONFLICT (task_id, key) DO UPDATE
    SET status = 'waiting', input = EXCLUDED.input, input_hash = EXCLUDED.input_hash, error = NULL,
        until = EXCLUDED.until, started_at = EXCLUDED.started_at, finished_at = EXCLUDED.finished_at
    WHERE existing.status <> 'succeeded'
)
SELECT reservation.allowed_at, statement_timestamp(), rate_values.changed_at, rate_values.spacing IS NOT NULL
FROM leased LEFT JOIN rate_values ON true LEFT JOIN reservation ON true
"""

# Let a step pass when its reserved time has come, unless the rate is blocked or the step before it has passed just
# now. Then it waits a little longer if that is before the next step's time. Without a row the caller reserves a new
# time.
PASS_STEP: Final = f"""
WITH {LEASED}, {RATE}, bucket AS MATERIALIZED (
    SELECT used.id, rate_values.spacing, used.passes_at,
        greatest(statement_timestamp(), used.passes_at - rate_values.tolerance, used.blocked_until) AS allowed_at
    FROM taskqueue_ratelimitbucket used CROSS JOIN rate_values CROSS JOIN leased
    WHERE used.rate_id = %(rate)s::text AND used.key = %(use)s::text
    FOR NO KEY UPDATE OF used
), passed AS (
    UPDATE taskqueue_ratelimitbucket used
    SET passes_at = greatest(bucket.passes_at, bucket.allowed_at) + bucket.spacing, admitted = used.admitted + 1,
        last_admitted_at = bucket.allowed_at,
        theoretical_arrival_at = greatest(used.theoretical_arrival_at, bucket.passes_at + bucket.spacing,
            bucket.allowed_at + bucket.spacing)
    FROM bucket
    WHERE used.id = bucket.id AND bucket.allowed_at <= {SOON}
    RETURNING bucket.allowed_at
), later AS (
    UPDATE taskqueue_step step SET until = bucket.allowed_at
    FROM bucket CROSS JOIN leased
    WHERE step.task_id = leased.id AND step.key = %(key)s::text AND step.status = 'waiting'
        AND bucket.allowed_at > {SOON} AND bucket.allowed_at <= step.until + bucket.spacing
    RETURNING step.until
)
SELECT passed.allowed_at, statement_timestamp() FROM passed
UNION ALL
SELECT later.until, statement_timestamp() FROM later
"""

# In `blocked_on`: a child that shares its parent's slot has no reserved time for its start yet. No rate has this name.
NO_RESERVATION: Final = "'+'"

# Let a task start when its reserved time has come, as PASS_STEP does. Without a row it has not started: it waits a
# little longer or, too late for its time, is blocked again and keeps its age. A child that shares its parent's slot
# cannot be blocked, since only its parent's end could free a slot: it keeps the slot and reserves another time.
START_TASK: Final = f"""
WITH {LEASED}, {RATE}, reserved AS MATERIALIZED (
    SELECT task.id, task.shares_slot FROM taskqueue_task task JOIN leased USING (id)
    WHERE task.id = %(task)s::uuid AND task.blocked_on = %(rate)s::text
), bucket AS MATERIALIZED (
    SELECT used.id, rate_values.spacing, used.passes_at, reserved.shares_slot,
        greatest(statement_timestamp(), used.passes_at - rate_values.tolerance, used.blocked_until) AS allowed_at
    FROM taskqueue_ratelimitbucket used CROSS JOIN rate_values CROSS JOIN reserved
    WHERE used.rate_id = %(rate)s::text AND used.key = %(use)s::text
    FOR NO KEY UPDATE OF used
), passed AS (
    UPDATE taskqueue_ratelimitbucket used
    -- Other tasks were counted when ADMIT reserved their time.
    SET passes_at = greatest(bucket.passes_at, bucket.allowed_at) + bucket.spacing,
        last_admitted_at = bucket.allowed_at,
        admitted = used.admitted + CASE WHEN bucket.shares_slot THEN 1 ELSE 0 END,
        theoretical_arrival_at = greatest(used.theoretical_arrival_at, bucket.passes_at + bucket.spacing,
            bucket.allowed_at + bucket.spacing)
    FROM bucket
    WHERE used.id = bucket.id AND bucket.allowed_at <= {SOON}
    RETURNING bucket.allowed_at
), started AS (
    UPDATE taskqueue_task task
    SET blocked_on = '', started_at = CASE WHEN task.retried_at IS NULL THEN passed.allowed_at ELSE task.started_at END
    FROM reserved CROSS JOIN passed
    WHERE task.id = reserved.id AND task.id = %(task)s::uuid
), later AS MATERIALIZED (
    SELECT task.id, bucket.allowed_at <= task.due_at + bucket.spacing AS in_time, CASE
        WHEN bucket.allowed_at <= task.due_at + bucket.spacing THEN bucket.allowed_at
        ELSE least(task.due_at, greatest(task.created_at, task.retried_at))
    END AS due_at
    FROM taskqueue_task task JOIN reserved USING (id) CROSS JOIN bucket
    WHERE task.id = %(task)s::uuid AND bucket.allowed_at > {SOON}
), returned AS (
    UPDATE taskqueue_task task
    SET status = CASE WHEN later.in_time THEN 'waiting' ELSE 'queued' END,
        blocked_on = CASE
            WHEN later.in_time THEN task.blocked_on WHEN task.shares_slot THEN {NO_RESERVATION} ELSE ''
        END,
        slot_acquired_at = CASE WHEN later.in_time OR task.shares_slot THEN task.slot_acquired_at END, finish_by = NULL,
        started_at = CASE WHEN task.retried_at IS NOT NULL THEN task.started_at END,
        due_at = later.due_at, sort_at = later.due_at - make_interval(secs => task.priority)
    FROM later
    WHERE task.id = later.id AND task.id = %(task)s::uuid
    RETURNING task.id
)
SELECT coalesce((SELECT allowed_at FROM passed), statement_timestamp()), statement_timestamp(), EXISTS (
    SELECT FROM taskqueue_task task WHERE task.id = leased.id AND task.blocked_on = {NO_RESERVATION}
)
FROM leased WHERE NOT EXISTS (SELECT FROM returned)
"""

# Reserve a time for the start of a child that shares its parent's slot. It keeps the slot.
START_CHILD: Final = f"""
WITH {LEASED}, {RATE}, {RESERVATION}, start AS MATERIALIZED (
    SELECT leased.id, greatest(reservation.allowed_at, statement_timestamp()) AS allowed_at
    FROM leased LEFT JOIN reservation ON true
), started AS (
    UPDATE taskqueue_task task
    SET blocked_on = '', started_at = CASE WHEN task.retried_at IS NULL THEN start.allowed_at ELSE task.started_at END
    FROM start
    WHERE task.id = start.id AND task.id = %(task)s::uuid AND start.allowed_at <= {SOON}
), later AS (
    UPDATE taskqueue_task task
    SET status = 'waiting', blocked_on = %(rate)s::text, finish_by = NULL,
        started_at = CASE WHEN task.retried_at IS NOT NULL THEN task.started_at END,
        due_at = start.allowed_at, sort_at = start.allowed_at - make_interval(secs => task.priority)
    FROM start
    WHERE task.id = start.id AND task.id = %(task)s::uuid AND start.allowed_at > {SOON}
)
SELECT start.allowed_at, statement_timestamp() FROM start WHERE start.allowed_at <= {SOON}
"""

# Block a rate from within a step. The longest block counts.
BLOCK_RATE: Final = f"""
WITH {LEASED}
INSERT INTO taskqueue_ratelimitbucket AS used (rate_id, key, theoretical_arrival_at, admitted, blocked_until,
    block_reason)
SELECT rate.name, %(use)s::text, statement_timestamp(), 0, statement_timestamp() + %(delay)s::interval, %(reason)s::text
FROM taskqueue_ratelimit rate CROSS JOIN leased WHERE rate.name = %(rate)s::text
ON CONFLICT (rate_id, key) DO UPDATE
SET blocked_until = EXCLUDED.blocked_until, block_reason = EXCLUDED.block_reason
WHERE used.blocked_until IS NULL OR used.blocked_until < EXCLUDED.blocked_until
"""

# Block a task, without a worker, until the earliest reserved time of its steps. If an operator has changed the rate
# since, it reserves again at once. A task that waits for a slot has no time.
BLOCK_TASK: Final = f"""
WITH {LEASED}, first AS (
    SELECT min(step.until) AS until, EXISTS (
        SELECT FROM taskqueue_ratelimit rate
        WHERE rate.name = %(blocked_on)s::text AND %(is_new)s::boolean
            AND rate.changed_at > coalesce(%(changed_at)s::timestamptz, '-infinity')
    ) AS is_void
    FROM taskqueue_step step
    WHERE step.task_id = %(task)s::uuid AND step.key = ANY (%(keys)s::text[]) AND step.status = 'waiting'
), steps AS (
    UPDATE taskqueue_step step SET until = statement_timestamp()
    FROM first, leased
    WHERE first.is_void AND step.task_id = leased.id AND step.key = ANY (%(keys)s::text[]) AND step.status = 'waiting'
), due AS (
    SELECT CASE
        WHEN cardinality(%(keys)s::text[]) > 0 THEN greatest(
            CASE WHEN NOT first.is_void THEN first.until END, statement_timestamp() + %(wait)s::interval
        )
        WHEN %(wait)s::interval > interval '0' THEN statement_timestamp() + %(wait)s::interval
    END AS at
    FROM first
)
UPDATE taskqueue_task task
SET status = 'waiting', blocked_on = %(blocked_on)s::text, due_at = due.at,
    sort_at = due.at - make_interval(secs => task.priority)
FROM leased CROSS JOIN due
WHERE task.id = leased.id AND task.id = %(task)s::uuid
RETURNING extract(epoch FROM task.due_at - statement_timestamp())::float
"""

# Clear the reservations of a changed rate. A task that has not started releases its slot, is blocked again and keeps
# its age. A child that shares its parent's slot, and a step with a recorded time, are queued and reserve again.
CLEAR_RESERVATIONS: Final = f"""
WITH waiting AS MATERIALIZED (
    SELECT task.id, EXISTS (
        SELECT FROM taskqueue_step step
        WHERE step.task_id = task.id AND step.kind = 'step' AND step.status = 'waiting'
    ) AS at_step
    FROM taskqueue_task task
    WHERE task.status = 'waiting' AND task.blocked_on = %(rate)s::text
    FOR NO KEY UPDATE
), steps AS (
    UPDATE taskqueue_step step SET until = statement_timestamp()
    FROM waiting
    WHERE waiting.at_step AND step.task_id = waiting.id AND step.kind = 'step' AND step.status = 'waiting'
), requeued AS (
    SELECT task.id, waiting.at_step, CASE WHEN waiting.at_step THEN statement_timestamp()
        ELSE least(task.due_at, greatest(task.created_at, task.retried_at)) END AS due_at
    FROM waiting JOIN taskqueue_task task USING (id)
    WHERE task.id = ANY (ARRAY(SELECT id FROM waiting))
)
UPDATE taskqueue_task task
SET status = 'queued',
    blocked_on = CASE WHEN task.shares_slot AND NOT requeued.at_step THEN {NO_RESERVATION} ELSE '' END,
    slot_acquired_at = CASE WHEN task.shares_slot OR requeued.at_step THEN task.slot_acquired_at END,
    due_at = requeued.due_at, sort_at = requeued.due_at - make_interval(secs => task.priority)
FROM requeued
WHERE task.id = requeued.id AND task.id = ANY (ARRAY(SELECT id FROM requeued))
"""
