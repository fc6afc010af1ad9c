"""Rate limits (GCRA, as `policies.Rate.next_free` has it).

For a step: `RESERVE` a time, `PASS` when it has come. For the start of a task: `START`, or `START_CHILD` when it shares
its parent's slot. `HOLD_RATE` blocks a rate, `HOLD_BACK` frees the worker until the reserved time, `FORGET_TIMES` is
for a changed rate.

Each row of `taskqueue_ratelimitbucket` has two counts. `theoretical_arrival_at` counts the times that were given,
also future ones, so each
has its own. `passes_at` counts what has passed, and when it really did: a step that comes late, because workers were
busy, does not pass together with the next one.
"""

from __future__ import annotations

from typing import Final

from taskqueue.engine.sql.admission import GAP
from taskqueue.engine.sql.journal import HELD

# The time between two uses of the rate, and how much of it a burst may be ahead.
SPACING: Final = f"""spacing AS MATERIALIZED (
    SELECT rounded.gap, rounded.gap * (coalesce(rate.burst, rate.declared_burst) - 1) AS slack, rate.changed_at
    FROM taskqueue_ratelimit rate CROSS JOIN LATERAL (SELECT {GAP} AS gap) AS rounded
    WHERE rate.name = %(rate)s::text
)"""

# What passes now, or so soon that the worker waits for it, counts from that moment on.
NOW: Final = "statement_timestamp() + %(brief)s::interval"

# Give a time, by one upsert on the rate's row. In READ COMMITTED the second of two waits for the first one's lock, and
# calculates with what it has written.
GIVE: Final = f"""given AS (
    INSERT INTO taskqueue_ratelimitbucket AS used (rate_id, key, theoretical_arrival_at, passes_at, admitted,
        last_admitted_at, block_reason)
    SELECT %(rate)s::text, %(use)s::text, statement_timestamp() + gap, statement_timestamp() + gap, 1,
        statement_timestamp(), ''
    FROM held CROSS JOIN spacing
    ON CONFLICT (rate_id, key) DO UPDATE SET (theoretical_arrival_at, passes_at, admitted, last_admitted_at) = (
        SELECT next.at + spacing.gap,
            CASE WHEN allowed.now THEN next.at + spacing.gap ELSE used.passes_at END,
            CASE WHEN allowed.now THEN used.admitted + 1 ELSE used.admitted END,
            CASE WHEN allowed.now THEN greatest(allowed.at, statement_timestamp()) ELSE used.last_admitted_at END
        FROM spacing CROSS JOIN LATERAL (
            SELECT greatest(
                used.theoretical_arrival_at, used.passes_at, statement_timestamp(), used.blocked_until + spacing.slack
            ) AS at
        ) AS next CROSS JOIN LATERAL (
            SELECT next.at - spacing.slack AS at, next.at - spacing.slack <= {NOW} AS now
        ) AS allowed
    )
    RETURNING used.theoretical_arrival_at - (SELECT gap + slack FROM spacing) AS allowed_at
)"""

# Reserve a time for a step. A future one is recorded with the step in this statement, so that one attempt uses the rate
# once.
RESERVE: Final = f"""
WITH {HELD}, {SPACING}, {GIVE}, waiting AS (
    INSERT INTO taskqueue_step AS known (
        task_id, key, name, kind, status, failures, input, input_hash, until, started_at, finished_at
    )
    SELECT held.id, %(key)s::text, %(name)s::text, 'step', 'waiting', 0, %(input)s::jsonb, %(input_hash)s::text,
        given.allowed_at, statement_timestamp(), statement_timestamp()
    FROM held CROSS JOIN given
    WHERE given.allowed_at > {NOW}
    ON CONFLICT (task_id, key) DO UPDATE
    SET status = 'waiting', input = EXCLUDED.input, input_hash = EXCLUDED.input_hash, error = NULL,
        until = EXCLUDED.until, started_at = EXCLUDED.started_at, finished_at = EXCLUDED.finished_at
    WHERE known.status <> 'succeeded'
)
SELECT given.allowed_at, statement_timestamp(), spacing.changed_at, spacing.gap IS NOT NULL
FROM held LEFT JOIN spacing ON true LEFT JOIN given ON true
"""

# Let a step pass whose time has come, unless the rate is blocked or the step before it has passed just now. Then it
# waits a little longer if that is before the next step's time; no row: it reserves a new time.
PASS: Final = f"""
WITH {HELD}, {SPACING}, bucket AS MATERIALIZED (
    SELECT used.id, spacing.gap, used.passes_at,
        greatest(statement_timestamp(), used.passes_at - spacing.slack, used.blocked_until) AS allowed_at
    FROM taskqueue_ratelimitbucket used CROSS JOIN spacing CROSS JOIN held
    WHERE used.rate_id = %(rate)s::text AND used.key = %(use)s::text
    FOR NO KEY UPDATE OF used
), passed AS (
    UPDATE taskqueue_ratelimitbucket used
    SET passes_at = greatest(bucket.passes_at, bucket.allowed_at) + bucket.gap, admitted = used.admitted + 1,
        last_admitted_at = bucket.allowed_at,
        theoretical_arrival_at = greatest(used.theoretical_arrival_at, bucket.passes_at + bucket.gap,
            bucket.allowed_at + bucket.gap)
    FROM bucket
    WHERE used.id = bucket.id AND bucket.allowed_at <= {NOW}
    RETURNING bucket.allowed_at
), later AS (
    UPDATE taskqueue_step step SET until = bucket.allowed_at
    FROM bucket CROSS JOIN held
    WHERE step.task_id = held.id AND step.key = %(key)s::text AND step.status = 'waiting'
        AND bucket.allowed_at > {NOW} AND bucket.allowed_at <= step.until + bucket.gap
    RETURNING step.until
)
SELECT passed.allowed_at, statement_timestamp() FROM passed
UNION ALL
SELECT later.until, statement_timestamp() FROM later
"""

# In `blocked_on`: a child that shares its parent's slot has no time for its start yet. No rate has this name.
UNBOOKED: Final = "'+'"

# Let a task start whose time has come, as PASS does. No row: it has not started, and waits a little longer, or, too
# late for its time, is blocked again, as old as it is. A child that shares its parent's slot cannot be blocked, since
# only its parent's end could free a slot: it keeps the slot and asks for another time.
START: Final = f"""
WITH {HELD}, {SPACING}, reserved AS MATERIALIZED (
    SELECT task.id, task.shares_slot FROM taskqueue_task task JOIN held USING (id)
    WHERE task.blocked_on = %(rate)s::text
), bucket AS MATERIALIZED (
    SELECT used.id, spacing.gap, used.passes_at, reserved.shares_slot,
        greatest(statement_timestamp(), used.passes_at - spacing.slack, used.blocked_until) AS allowed_at
    FROM taskqueue_ratelimitbucket used CROSS JOIN spacing CROSS JOIN reserved
    WHERE used.rate_id = %(rate)s::text AND used.key = %(use)s::text
    FOR NO KEY UPDATE OF used
), passed AS (
    UPDATE taskqueue_ratelimitbucket used
    -- The others were counted when ADMIT gave them their time.
    SET passes_at = greatest(bucket.passes_at, bucket.allowed_at) + bucket.gap, last_admitted_at = bucket.allowed_at,
        admitted = used.admitted + CASE WHEN bucket.shares_slot THEN 1 ELSE 0 END,
        theoretical_arrival_at = greatest(used.theoretical_arrival_at, bucket.passes_at + bucket.gap,
            bucket.allowed_at + bucket.gap)
    FROM bucket
    WHERE used.id = bucket.id AND bucket.allowed_at <= {NOW}
    RETURNING bucket.allowed_at
), started AS (
    UPDATE taskqueue_task task
    SET blocked_on = '', started_at = CASE WHEN task.retried_at IS NULL THEN passed.allowed_at ELSE task.started_at END
    FROM reserved CROSS JOIN passed
    WHERE task.id = reserved.id
), later AS MATERIALIZED (
    SELECT task.id, bucket.allowed_at <= task.due_at + bucket.gap AS in_time, CASE
        WHEN bucket.allowed_at <= task.due_at + bucket.gap THEN bucket.allowed_at
        ELSE least(task.due_at, greatest(task.created_at, task.retried_at))
    END AS due_at
    FROM taskqueue_task task JOIN reserved USING (id) CROSS JOIN bucket
    WHERE bucket.allowed_at > {NOW}
), returned AS (
    UPDATE taskqueue_task task
    SET status = CASE WHEN later.in_time THEN 'waiting' ELSE 'queued' END,
        blocked_on = CASE
            WHEN later.in_time THEN task.blocked_on WHEN task.shares_slot THEN {UNBOOKED} ELSE ''
        END,
        slot_acquired_at = CASE WHEN later.in_time OR task.shares_slot THEN task.slot_acquired_at END, finish_by = NULL,
        started_at = CASE WHEN task.retried_at IS NOT NULL THEN task.started_at END,
        due_at = later.due_at, sort_at = later.due_at - make_interval(secs => task.priority)
    FROM later
    WHERE task.id = later.id
    RETURNING task.id
)
SELECT coalesce((SELECT allowed_at FROM passed), statement_timestamp()), statement_timestamp(), EXISTS (
    SELECT FROM taskqueue_task task WHERE task.id = held.id AND task.blocked_on = {UNBOOKED}
)
FROM held WHERE NOT EXISTS (SELECT FROM returned)
"""

# Give a child that shares its parent's slot a time for its start, as RESERVE does for a step. It keeps the slot.
START_CHILD: Final = f"""
WITH {HELD}, {SPACING}, {GIVE}, start AS MATERIALIZED (
    SELECT held.id, greatest(given.allowed_at, statement_timestamp()) AS allowed_at
    FROM held LEFT JOIN given ON true
), started AS (
    UPDATE taskqueue_task task
    SET blocked_on = '', started_at = CASE WHEN task.retried_at IS NULL THEN start.allowed_at ELSE task.started_at END
    FROM start
    WHERE task.id = start.id AND start.allowed_at <= {NOW}
), later AS (
    UPDATE taskqueue_task task
    SET status = 'waiting', blocked_on = %(rate)s::text, finish_by = NULL,
        started_at = CASE WHEN task.retried_at IS NOT NULL THEN task.started_at END,
        due_at = start.allowed_at, sort_at = start.allowed_at - make_interval(secs => task.priority)
    FROM start
    WHERE task.id = start.id AND start.allowed_at > {NOW}
)
SELECT start.allowed_at, statement_timestamp() FROM start WHERE start.allowed_at <= {NOW}
"""

# Block a rate from within a step. The longest block counts.
HOLD_RATE: Final = f"""
WITH {HELD}
INSERT INTO taskqueue_ratelimitbucket AS used (rate_id, key, theoretical_arrival_at, admitted, blocked_until,
    block_reason)
SELECT rate.name, %(use)s::text, statement_timestamp(), 0, statement_timestamp() + %(delay)s::interval, %(reason)s::text
FROM taskqueue_ratelimit rate CROSS JOIN held WHERE rate.name = %(rate)s::text
ON CONFLICT (rate_id, key) DO UPDATE
SET blocked_until = EXCLUDED.blocked_until, block_reason = EXCLUDED.block_reason
WHERE used.blocked_until IS NULL OR used.blocked_until < EXCLUDED.blocked_until
"""

# Let a task wait without a worker until the earliest time of its steps. If a person has changed the rate since, it asks
# again at once. A task that waits for a slot has no time.
HOLD_BACK: Final = f"""
WITH {HELD}, first AS (
    SELECT min(step.until) AS until, EXISTS (
        SELECT FROM taskqueue_ratelimit rate
        WHERE rate.name = %(blocked_on)s::text AND %(is_new)s::boolean
            AND rate.changed_at > coalesce(%(changed_at)s::timestamptz, '-infinity')
    ) AS is_void
    FROM taskqueue_step step
    WHERE step.task_id = %(task)s::uuid AND step.key = ANY (%(keys)s::text[]) AND step.status = 'waiting'
), steps AS (
    UPDATE taskqueue_step step SET until = statement_timestamp()
    FROM first, held
    WHERE first.is_void AND step.task_id = held.id AND step.key = ANY (%(keys)s::text[]) AND step.status = 'waiting'
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
FROM held CROSS JOIN due
WHERE task.id = held.id
RETURNING extract(epoch FROM task.due_at - statement_timestamp())::float
"""

# Forget the reserved times of a rate that was changed. A task that has not started gives its slot back and is blocked
# again, as old as it is. A child that shares its parent's slot, and a step with a recorded time, are queued and ask
# again.
FORGET_TIMES: Final = f"""
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
)
UPDATE taskqueue_task task
SET status = 'queued',
    blocked_on = CASE WHEN task.shares_slot AND NOT requeued.at_step THEN {UNBOOKED} ELSE '' END,
    slot_acquired_at = CASE WHEN task.shares_slot OR requeued.at_step THEN task.slot_acquired_at END,
    due_at = requeued.due_at, sort_at = requeued.due_at - make_interval(secs => task.priority)
FROM requeued
WHERE task.id = requeued.id
"""
