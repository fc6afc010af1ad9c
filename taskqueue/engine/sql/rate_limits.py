"""Statements of rates: a step is given its time, passes when it has come, and holds everybody when it was asked to.

GCRA, as `policies.Rate.next_free` has it, in two counts. `theoretical_arrival_at` counts the times that were given,
also those that
are still to come: so everyone has an own place. `passes_at` counts who has passed, and when they really did: whoever
comes late, because workers were busy, does not pass together with the next one.
"""

from __future__ import annotations

from typing import Final

from taskqueue.engine.sql.admission import GAP
from taskqueue.engine.sql.journal import HELD

SPACING: Final = f"""
spacing AS MATERIALIZED (
    SELECT rounded.gap, rounded.gap * (coalesce(rate.burst, rate.declared_burst) - 1) AS slack, rate.changed_at
    FROM taskqueue_ratelimit rate CROSS JOIN LATERAL (SELECT {GAP} AS gap) AS rounded
    WHERE rate.name = %(rate)s::text
)
"""

# The time that a new one would be given. `excluded` is its row as if it were the first.
GIVEN: Final = """
greatest(
    used.theoretical_arrival_at, used.passes_at, statement_timestamp(), used.blocked_until + (SELECT slack FROM spacing)
)
"""

# Who passes now, or so soon that the worker waits for it, counts from that moment on.
NOW: Final = "statement_timestamp() + %(brief)s::interval"

# One upsert on the rate's row. In READ COMMITTED the second of two waits for the first, and calculates with what it has
# written.
GIVE: Final = f"""
given AS (
    INSERT INTO taskqueue_ratelimitbucket AS used (rate_id, key, theoretical_arrival_at, passes_at, admitted,
        last_admitted_at, block_reason)
    SELECT %(rate)s::text, %(use)s::text, statement_timestamp() + gap, statement_timestamp() + gap, 1,
        statement_timestamp(), ''
    FROM held CROSS JOIN spacing
    ON CONFLICT (rate_id, key) DO UPDATE
    SET theoretical_arrival_at = {GIVEN} + (SELECT gap FROM spacing),
        passes_at = CASE WHEN {GIVEN} - (SELECT slack FROM spacing) <= {NOW}
            THEN {GIVEN} + (SELECT gap FROM spacing) ELSE used.passes_at END,
        admitted = CASE WHEN {GIVEN} - (SELECT slack FROM spacing) <= {NOW}
            THEN used.admitted + 1 ELSE used.admitted END,
        last_admitted_at = CASE WHEN {GIVEN} - (SELECT slack FROM spacing) <= {NOW}
            THEN greatest({GIVEN} - (SELECT slack FROM spacing), statement_timestamp()) ELSE used.last_admitted_at END
    RETURNING used.theoretical_arrival_at - (SELECT gap + slack FROM spacing) AS allowed_at
)
"""

# A time that lies ahead is recorded in the same statement, so that nobody pays twice for one try.
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

# For a step whose time has come. It passes, unless the rate is held or the one before it has passed just now. Then it
# waits a little longer if it still comes before the next one's time, else it asks for a new one.
PASS: Final = f"""
WITH {HELD}, {SPACING}, turn AS MATERIALIZED (
    SELECT used.id, spacing.gap, used.passes_at,
        greatest(statement_timestamp(), used.passes_at - spacing.slack, used.blocked_until) AS allowed_at
    FROM taskqueue_ratelimitbucket used CROSS JOIN spacing CROSS JOIN held
    WHERE used.rate_id = %(rate)s::text AND used.key = %(use)s::text
    FOR NO KEY UPDATE OF used
), passed AS (
    UPDATE taskqueue_ratelimitbucket used
    SET passes_at = greatest(turn.passes_at, turn.allowed_at) + turn.gap, admitted = used.admitted + 1,
        last_admitted_at = turn.allowed_at,
        theoretical_arrival_at = greatest(used.theoretical_arrival_at, turn.passes_at + turn.gap,
            turn.allowed_at + turn.gap)
    FROM turn
    WHERE used.id = turn.id AND turn.allowed_at <= {NOW}
    RETURNING turn.allowed_at
), later AS (
    UPDATE taskqueue_step step SET until = turn.allowed_at
    FROM turn CROSS JOIN held
    WHERE step.task_id = held.id AND step.key = %(key)s::text AND step.status = 'waiting'
        AND turn.allowed_at > {NOW} AND turn.allowed_at <= step.until + turn.gap
    RETURNING step.until
)
SELECT passed.allowed_at, statement_timestamp() FROM passed
UNION ALL
SELECT later.until, statement_timestamp() FROM later
"""

# Where a child under its parent's place waits that has not been given a time for its start. No rate is called so.
UNBOOKED: Final = "'+'"

# For a start that its gate has let through: the same. One that comes too late for its time stands before its gate
# again, as old as it is. Neither has started. A child that has its parent's place never came through the gate and must
# not wait before it, where only its parent's end could make room: it keeps the place and is given another time.
START: Final = f"""
WITH {HELD}, {SPACING}, booked AS MATERIALIZED (
    SELECT task.id, task.shares_slot FROM taskqueue_task task JOIN held USING (id)
    WHERE task.blocked_on = %(rate)s::text
), turn AS MATERIALIZED (
    SELECT used.id, spacing.gap, used.passes_at, booked.shares_slot,
        greatest(statement_timestamp(), used.passes_at - spacing.slack, used.blocked_until) AS allowed_at
    FROM taskqueue_ratelimitbucket used CROSS JOIN spacing CROSS JOIN booked
    WHERE used.rate_id = %(rate)s::text AND used.key = %(use)s::text
    FOR NO KEY UPDATE OF used
), passed AS (
    UPDATE taskqueue_ratelimitbucket used
    -- Others were counted by their gate, when it gave them their time.
    SET passes_at = greatest(turn.passes_at, turn.allowed_at) + turn.gap, last_admitted_at = turn.allowed_at,
        admitted = used.admitted + CASE WHEN turn.shares_slot THEN 1 ELSE 0 END,
        theoretical_arrival_at = greatest(used.theoretical_arrival_at, turn.passes_at + turn.gap,
            turn.allowed_at + turn.gap)
    FROM turn
    WHERE used.id = turn.id AND turn.allowed_at <= {NOW}
    RETURNING turn.allowed_at
), started AS (
    UPDATE taskqueue_task task
    SET blocked_on = '', started_at = CASE WHEN task.retried_at IS NULL THEN passed.allowed_at ELSE task.started_at END
    FROM booked CROSS JOIN passed
    WHERE task.id = booked.id
), later AS MATERIALIZED (
    SELECT task.id, turn.allowed_at <= task.due_at + turn.gap AS in_time, CASE
        WHEN turn.allowed_at <= task.due_at + turn.gap THEN turn.allowed_at
        ELSE least(task.due_at, greatest(task.created_at, task.retried_at))
    END AS due_at
    FROM taskqueue_task task JOIN booked USING (id) CROSS JOIN turn
    WHERE turn.allowed_at > {NOW}
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

# For a child that nobody has given a time for its start: it is given one as a step is, and keeps its place meanwhile.
START_CHILD: Final = f"""
WITH {HELD}, {SPACING}, {GIVE}, turn AS MATERIALIZED (
    SELECT held.id, greatest(given.allowed_at, statement_timestamp()) AS allowed_at
    FROM held LEFT JOIN given ON true
), started AS (
    UPDATE taskqueue_task task
    SET blocked_on = '', started_at = CASE WHEN task.retried_at IS NULL THEN turn.allowed_at ELSE task.started_at END
    FROM turn
    WHERE task.id = turn.id AND turn.allowed_at <= {NOW}
), later AS (
    UPDATE taskqueue_task task
    SET status = 'waiting', blocked_on = %(rate)s::text, finish_by = NULL,
        started_at = CASE WHEN task.retried_at IS NOT NULL THEN task.started_at END,
        due_at = turn.allowed_at, sort_at = turn.allowed_at - make_interval(secs => task.priority)
    FROM turn
    WHERE task.id = turn.id AND turn.allowed_at > {NOW}
)
SELECT turn.allowed_at, statement_timestamp() FROM turn WHERE turn.allowed_at <= {NOW}
"""

# In the middle of a step: the longest hold counts.
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

# The task goes free until the earliest time that one of its steps was given. If a person has changed the rate since, it
# asks again at once. A task that waits for a place has no time.
HOLD_BACK: Final = f"""
WITH {HELD}, turn AS (
    SELECT min(step.until) AS until, EXISTS (
        SELECT FROM taskqueue_ratelimit rate
        WHERE rate.name = %(blocked_on)s::text AND %(is_new)s::boolean
            AND rate.changed_at > coalesce(%(changed_at)s::timestamptz, '-infinity')
    ) AS is_void
    FROM taskqueue_step step
    WHERE step.task_id = %(task)s::uuid AND step.key = ANY (%(keys)s::text[]) AND step.status = 'waiting'
), told AS (
    UPDATE taskqueue_step step SET until = statement_timestamp()
    FROM turn, held
    WHERE turn.is_void AND step.task_id = held.id AND step.key = ANY (%(keys)s::text[]) AND step.status = 'waiting'
), due AS (
    SELECT CASE
        WHEN cardinality(%(keys)s::text[]) > 0 THEN greatest(
            CASE WHEN NOT turn.is_void THEN turn.until END, statement_timestamp() + %(wait)s::interval
        )
        WHEN %(wait)s::interval > interval '0' THEN statement_timestamp() + %(wait)s::interval
    END AS at
    FROM turn
)
UPDATE taskqueue_task task
SET status = 'waiting', blocked_on = %(blocked_on)s::text, due_at = due.at,
    sort_at = due.at - make_interval(secs => task.priority)
FROM held CROSS JOIN due
WHERE task.id = held.id
RETURNING extract(epoch FROM task.due_at - statement_timestamp())::float
"""

# When a rate was changed. A start gives its place back and stands before its gate again, as old as it is. A child that
# has its parent's place, and a step that has its time recorded, are queued and ask anew.
FORGET_TIMES: Final = f"""
WITH waiting AS MATERIALIZED (
    SELECT task.id, EXISTS (
        SELECT FROM taskqueue_step step
        WHERE step.task_id = task.id AND step.kind = 'step' AND step.status = 'waiting'
    ) AS at_step
    FROM taskqueue_task task
    WHERE task.status = 'waiting' AND task.blocked_on = %(rate)s::text
    FOR NO KEY UPDATE
), told AS (
    UPDATE taskqueue_step step SET until = statement_timestamp()
    FROM waiting
    WHERE waiting.at_step AND step.task_id = waiting.id AND step.kind = 'step' AND step.status = 'waiting'
), asked AS (
    SELECT task.id, waiting.at_step, CASE WHEN waiting.at_step THEN statement_timestamp()
        ELSE least(task.due_at, greatest(task.created_at, task.retried_at)) END AS due_at
    FROM waiting JOIN taskqueue_task task USING (id)
)
UPDATE taskqueue_task task
SET status = 'queued',
    blocked_on = CASE WHEN task.shares_slot AND NOT asked.at_step THEN {UNBOOKED} ELSE '' END,
    slot_acquired_at = CASE WHEN task.shares_slot OR asked.at_step THEN task.slot_acquired_at END,
    due_at = asked.due_at, sort_at = asked.due_at - make_interval(secs => task.priority)
FROM asked
WHERE task.id = asked.id
"""
