"""Statements of the gates: which pipelines have starts that their limits let through, and letting them through.

A gated pipeline's tasks stand before its gate until they have a place (`Task.admitted_at`); from then on they are
claimed like all others. Keys take turns: the groups of a pipeline are walked by index, one probe each, from the one
that had its turn last, so that neither a long queue of one key nor the number of tasks costs anything.
"""

from __future__ import annotations

from typing import Final

# Between two that follow each other. Rounded up to a whole microsecond, as `policies.Rate.interval` is: three in a
# second must not come 0.999,999 s apart, or a fourth would fit into it.
GAP: Final = """
(
    ceil(extract(epoch FROM coalesce(rate.per, rate.declared_per)) * 1000000
        / coalesce(rate.count, rate.declared_count))::bigint * interval '1 microsecond'
)
"""

# What this process's code knows and nobody has paused, with what holds its starts back. Reservations of a rate are made
# a minute ahead, or one interval if that is longer.
KNOWN: Final = f"""
known AS MATERIALIZED (
    SELECT pipeline.name, code.fingerprint,
        coalesce(gate.tasks, gate.declared_tasks) AS most,
        coalesce(gate.tasks_per_key, gate.declared_tasks_per_key) AS most_per_key,
        coalesce(
            gate.tasks, gate.declared_tasks, gate.tasks_per_key, gate.declared_tasks_per_key
        ) IS NOT NULL OR gate.rate_id IS NOT NULL
            -- Grouped for the sake of their steps alone, tasks stand in the queues of their groups all the same.
            OR gate.key <> '' AS gated,
        coalesce(
            gate.steps, gate.declared_steps, gate.steps_per_key, gate.declared_steps_per_key
        ) IS NOT NULL AS stepped,
        gate.rate_id, gate.rate_is_keyed, gate.last_group,
        spacing.gap, spacing.slack, greatest(spacing.gap, interval '1 minute') AS ahead
    FROM unnest(%(pipelines)s::text[], %(codes)s::text[]) AS code (name, fingerprint)
    JOIN taskqueue_pipeline pipeline ON pipeline.name = code.name COLLATE "C" AND pipeline.paused_at IS NULL
    LEFT JOIN taskqueue_gate gate ON gate.pipeline_id = pipeline.name
    LEFT JOIN LATERAL (
        SELECT rounded.gap, rounded.gap * (coalesce(rate.burst, rate.declared_burst) - 1) AS slack
        FROM taskqueue_rate rate CROSS JOIN LATERAL (SELECT {GAP} AS gap) AS rounded
        WHERE rate.name = gate.rate_id
    ) AS spacing ON true
)
"""

# The groups of one pipeline that have starts to come, in their turns: first those after the last one served, then from
# the beginning up to it. The empty group is the queue of tasks without a key.
TURNS: Final = """
turns AS (
    SELECT 0 AS half, known.last_group::text COLLATE "C" AS "group", NULL::timestamptz AS sort_at, 0 AS turn
    UNION ALL
    SELECT following.half, following."group", following.sort_at, turns.turn + 1
    FROM turns CROSS JOIN LATERAL (
        (
            SELECT turns.half, queue."group"::text COLLATE "C" AS "group", queue.sort_at
            FROM taskqueue_task queue
            WHERE queue.group_lane = known.name AND queue."group" > turns."group"
                AND (turns.half = 0 OR queue."group" <= known.last_group)
            ORDER BY queue."group", queue.sort_at, queue.id LIMIT 1
        )
        UNION ALL
        SELECT 1, ''::text COLLATE "C", (
            SELECT queue.sort_at FROM taskqueue_task queue
            WHERE queue.lane = known.name || '+'
            ORDER BY queue.sort_at, queue.id LIMIT 1
        )
        WHERE turns.half = 0
        LIMIT 1
    ) AS following
    WHERE turns.turn < 64
)
"""

# How many more of a group may start: as many as its limit leaves room for, none while its rate is booked up.
ROOM: Final = """
CROSS JOIN LATERAL (
    SELECT CASE WHEN known.most_per_key IS NULL OR turns."group" = '' THEN 100 ELSE known.most_per_key - (
        SELECT count(*) FROM (
            SELECT FROM taskqueue_task place
            WHERE place.held = known.name AND place."group" = turns."group"
            LIMIT known.most_per_key
        ) AS places
    ) END AS room
) AS key_limit
LEFT JOIN taskqueue_rateuse used
    ON used.rate_id = known.rate_id
    AND used.key = CASE WHEN known.rate_is_keyed THEN turns."group" ELSE '' END COLLATE "C"
WHERE turns.sort_at IS NOT NULL AND key_limit.room > 0 AND coalesce(
    greatest(used.arrival_at - known.slack, used.held_until) <= statement_timestamp() + known.ahead, true
)
"""

# A rate gives its next hundred starts their times, so that nobody has to look again for each of them.
WISH: Final = "CASE WHEN known.rate_id IS NULL THEN %(most)s::int ELSE 100 END"

PLACES_LEFT: Final = """
known.most - (
    SELECT count(*) FROM (
        SELECT FROM taskqueue_task place WHERE place.held = known.name LIMIT known.most
    ) AS places
)
"""

# Gated pipelines that would let a start through, with the place of that start in the queue.
OPENINGS: Final = f"""
openings AS MATERIALIZED (
    SELECT known.name, opening.sort_at
    FROM known CROSS JOIN LATERAL (
        WITH RECURSIVE {TURNS}
        SELECT turns.sort_at FROM turns {ROOM} LIMIT 1
    ) AS opening
    WHERE known.gated AND NOT (known.name = ANY (%(passed)s::text[])) AND coalesce({PLACES_LEFT} > 0, true)
)
"""

# Gated pipelines whose walk came to its end without finding room: the next one has to begin where it ended.
WALKED: Final = f"""
walked AS MATERIALIZED (
    SELECT known.name, final."group"
    FROM known CROSS JOIN LATERAL (
        WITH RECURSIVE {TURNS}
        SELECT turns."group" FROM turns WHERE turns.turn = 64
    ) AS final
    WHERE known.gated AND NOT EXISTS (SELECT FROM openings WHERE openings.name = known.name)
        AND coalesce({PLACES_LEFT} > 0, true)
)
"""

WALK_ON: Final = f"""
WITH {KNOWN}, {OPENINGS}, {WALKED}
UPDATE taskqueue_gate gate SET last_group = walked."group" FROM walked WHERE gate.pipeline_id = walked.name
"""

LOCK_GATE: Final = "SELECT pipeline_id FROM taskqueue_gate WHERE pipeline_id = %(gate)s::text FOR NO KEY UPDATE"

# Under the gate's lock, in a statement after the one that took it, so that it sees what the last holder admitted.
ADMIT: Final = f"""
WITH {KNOWN}, starts AS MATERIALIZED (
    SELECT start.id, start."group", start.turn, known.rate_id, known.gap, known.slack, known.ahead,
        CASE WHEN known.rate_is_keyed THEN start."group" ELSE '' END AS rate_key
    FROM known CROSS JOIN LATERAL (
        WITH RECURSIVE {TURNS}, heads AS (
            SELECT head.id, head."group", turns.turn,
                row_number() OVER (PARTITION BY turns.turn ORDER BY head.sort_at, head.id) AS number
            FROM (
                SELECT turns."group", turns.turn, key_limit.room FROM turns {ROOM} LIMIT {WISH}
            ) AS turns
            CROSS JOIN LATERAL (
                (
                    SELECT queue.id, queue."group", queue.sort_at FROM taskqueue_task queue
                    WHERE turns."group" <> '' AND queue.group_lane = known.name AND queue."group" = turns."group"
                    ORDER BY queue.sort_at, queue.id
                    LIMIT least(turns.room, {WISH})
                )
                UNION ALL
                (
                    SELECT queue.id, queue."group", queue.sort_at FROM taskqueue_task queue
                    WHERE turns."group" = '' AND queue.lane = known.name || '+'
                    ORDER BY queue.sort_at, queue.id
                    LIMIT least(turns.room, {WISH})
                )
            ) AS head
        )
        SELECT heads.id, heads."group", heads.turn FROM heads
        ORDER BY heads.number, heads.turn
        LIMIT least(coalesce({PLACES_LEFT}, 100), {WISH})
    ) AS start
    WHERE known.gated
), numbered AS (
    SELECT starts.*, row_number() OVER (PARTITION BY rate_key ORDER BY turn, id) AS number FROM starts
), booked AS MATERIALIZED (
    -- Only those whose time would come soon; the others are given theirs later, so that a changed rate counts at once.
    SELECT numbered.* FROM numbered LEFT JOIN taskqueue_rateuse used
        ON used.rate_id = numbered.rate_id AND used.key = numbered.rate_key COLLATE "C"
    WHERE numbered.rate_id IS NULL
        OR greatest(used.arrival_at - slack, used.held_until, statement_timestamp()) + (number - 1) * gap
            - greatest(slack, interval '0') <= statement_timestamp() + ahead
), bookings AS MATERIALIZED (
    SELECT rate_id, rate_key, gap, slack, count(*) AS number FROM booked
    WHERE rate_id IS NOT NULL GROUP BY rate_id, rate_key, gap, slack
), used AS (
    INSERT INTO taskqueue_rateuse AS used (rate_id, key, arrival_at, admitted, admitted_at, hold_reason)
    SELECT rate_id, rate_key, statement_timestamp() + number * gap, number, statement_timestamp(), '' FROM bookings
    ON CONFLICT (rate_id, key) DO UPDATE
    SET arrival_at = greatest(
            used.arrival_at, statement_timestamp(),
            used.held_until + (SELECT slack FROM bookings WHERE rate_key = EXCLUDED.key)
        ) + EXCLUDED.admitted * (SELECT gap FROM bookings WHERE rate_key = EXCLUDED.key),
        admitted = used.admitted + EXCLUDED.admitted, admitted_at = statement_timestamp()
    RETURNING used.key, used.arrival_at
), timed AS (
    SELECT booked.id, booked.rate_id,
        used.arrival_at - (bookings.number - booked.number + 1) * bookings.gap - bookings.slack AS allowed_at
    FROM booked
    LEFT JOIN bookings ON bookings.rate_key = booked.rate_key
    LEFT JOIN used ON used.key = booked.rate_key
), admitted AS (
    -- Only the gate's holder admits; a task that was cancelled meanwhile is not ready any more.
    UPDATE taskqueue_task task
    SET admitted_at = statement_timestamp(),
        status = CASE WHEN timed.allowed_at > statement_timestamp() THEN 'waiting' ELSE 'queued' END,
        -- Until it passes: a start that comes late, because workers were busy, must not come together with the next.
        waits_at = coalesce(timed.rate_id, ''),
        due_at = greatest(timed.allowed_at, task.due_at),
        sort_at = greatest(timed.allowed_at, task.due_at) - make_interval(secs => task.priority)
    FROM timed
    WHERE task.id = timed.id AND task.status = 'queued' AND task.admitted_at IS NULL
    RETURNING task.id
), turned AS (
    UPDATE taskqueue_gate SET last_group = (SELECT "group" FROM starts ORDER BY turn DESC LIMIT 1)
    WHERE pipeline_id = %(gate)s::text AND EXISTS (SELECT FROM starts)
)
SELECT id FROM admitted
"""
