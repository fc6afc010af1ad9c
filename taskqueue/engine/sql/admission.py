"""Statements of the gates: which pipelines have starts that their limits let through, and letting them through.

A gated pipeline's tasks stand before its gate until they have a place (`Task.admitted_at`); from then on they are
claimed like all others. Keys take turns: the groups of a pipeline are walked by index, one probe each, from the one
that had its turn last, so that neither a long queue of one key nor the number of tasks costs anything.
"""

from __future__ import annotations

from typing import Final, LiteralString

# Between two that follow each other. Rounded up to a whole microsecond, as `policies.Rate.interval` is: three in a
# second must not come 0.999,999 s apart, or a fourth would fit into it.
GAP: Final = """
(
    ceil(extract(epoch FROM coalesce(rate.per, rate.declared_per)) * 1000000
        / coalesce(rate.count, rate.declared_count))::bigint * interval '1 microsecond'
)
"""

# The queues of what this process's code knows, by one probe each: of tasks that have a place, of those that have not
# started, and whether there are any that stand in the queues of their groups.
QUEUES: Final = """
queues AS MATERIALIZED (
    SELECT code.name, code.fingerprint, (
        SELECT queue.sort_at FROM taskqueue_task queue
        WHERE queue.lane = code.name COLLATE "C"
        ORDER BY queue.sort_at, queue.id LIMIT 1
    ) AS going_at, (
        SELECT queue.sort_at FROM taskqueue_task queue
        WHERE queue.lane = (code.name || '+') COLLATE "C"
        ORDER BY queue.sort_at, queue.id LIMIT 1
    ) AS fresh_at, (
        SELECT true FROM taskqueue_task queue
        WHERE queue.group_lane = code.name COLLATE "C"
        ORDER BY queue."group", queue.sort_at, queue.id LIMIT 1
    ) AS in_groups
    FROM unnest(%(pipelines)s::text[], %(codes)s::text[]) AS code (name, fingerprint)
)
"""

# Those of them that nobody has paused, with what holds their starts back. What stands in the queue of a group goes
# through the gate also when there is no limit any more: the code may have had a key when it was made.
KNOWN: Final = f"""
{QUEUES}, known AS MATERIALIZED (
    SELECT pipeline.name, queues.fingerprint, queues.going_at, queues.fresh_at,
        coalesce(gate.tasks, gate.declared_tasks) AS most,
        coalesce(gate.tasks_per_key, gate.declared_tasks_per_key) AS most_per_key,
        coalesce(
            gate.tasks, gate.declared_tasks, gate.tasks_per_key, gate.declared_tasks_per_key
        ) IS NOT NULL OR gate.rate_id IS NOT NULL OR queues.in_groups IS NOT NULL AS gated,
        queues.fresh_at IS NOT NULL OR queues.in_groups IS NOT NULL AS has_starts,
        coalesce(
            gate.steps, gate.declared_steps, gate.steps_per_key, gate.declared_steps_per_key
        ) IS NOT NULL AS stepped,
        gate.rate_id, gate.rate_is_keyed, coalesce(gate.last_group, '') AS last_group
    FROM queues
    JOIN taskqueue_pipeline pipeline ON pipeline.name = queues.name COLLATE "C" AND pipeline.paused_at IS NULL
    LEFT JOIN taskqueue_gate gate ON gate.pipeline_id = pipeline.name
    WHERE queues.going_at IS NOT NULL OR queues.fresh_at IS NOT NULL OR queues.in_groups IS NOT NULL
)
"""

# Of a pipeline whose starts are limited by a rate. Reservations are made a minute ahead, or one interval if that is
# longer.
SPACING: Final = f"""
LEFT JOIN LATERAL (
    SELECT rounded.gap, rounded.gap * (coalesce(rate.burst, rate.declared_burst) - 1) AS slack,
        greatest(rounded.gap, interval '1 minute') AS ahead
    FROM taskqueue_rate rate CROSS JOIN LATERAL (SELECT {GAP} AS gap) AS rounded
    WHERE rate.name = known.rate_id
) AS spacing ON true
"""

AT_ONCE: Final = 16
"""Keys that a claim looks at before it leaves a pipeline whose keys are all full; so many cost half of a claim."""
UNDER_THE_LOCK: Final = 64
"""The same when a task of it has ended, or it has room."""
WHEN_IDLE: Final = 1000
"""The same once a second, when those that claims look at are full."""

TURN_LIMITS: Final[dict[int, LiteralString]] = {AT_ONCE: "16", UNDER_THE_LOCK: "64", WHEN_IDLE: "1000"}

# The next group is found before it is compared with the last one served: within the probe, that would be a filter over
# all that stand behind.
TURNS: Final = """
turns AS (
    SELECT 0 AS half, known.last_group::text COLLATE "C" AS "group", NULL::timestamptz AS sort_at, 0 AS turn,
        NULL::text COLLATE "C" AS former
    UNION ALL
    SELECT following.half, following."group", following.sort_at, turns.turn + 1, turns."group"
    FROM turns CROSS JOIN LATERAL (
        SELECT turns.half, next."group", next.sort_at FROM (
            SELECT queue."group"::text COLLATE "C" AS "group", queue.sort_at
            FROM taskqueue_task queue
            WHERE queue.group_lane = known.name AND queue."group" > turns."group"
            ORDER BY queue."group", queue.sort_at, queue.id LIMIT 1
        ) AS next
        WHERE turns.half = 0 OR next."group" <= known.last_group
        UNION ALL
        SELECT 1, ''::text COLLATE "C", known.fresh_at WHERE turns.half = 0
        LIMIT 1
    ) AS following
    WHERE turns.turn < <most>
)
"""


def turns(most: int) -> LiteralString:
    """The groups of one pipeline that have starts to come, in their turns, so many at the most.

    First those after the last one served, then from the beginning up to it. The empty group is the queue of tasks
    without a key.
    """
    return TURNS.replace("<most>", TURN_LIMITS[most])


# How many more of a group may start: as many as its limit leaves room for, none while its rate is booked up.
ROOM: Final = """
CROSS JOIN LATERAL (
    SELECT CASE WHEN known.most_per_key IS NULL OR turns."group" = '' THEN 100 ELSE known.most_per_key - (
        SELECT count(*) FROM (
            SELECT FROM taskqueue_task place
            WHERE place.held = known.name AND place."group" = turns."group"
            ORDER BY place.held, place."group" LIMIT known.most_per_key
        ) AS places
    ) END AS room
) AS key_limit
WHERE turns.sort_at IS NOT NULL AND key_limit.room > 0 AND (known.rate_id IS NULL OR coalesce((
    SELECT greatest(used.arrival_at - spacing.slack, used.held_until) <= statement_timestamp() + spacing.ahead
    FROM taskqueue_rateuse used
    WHERE used.rate_id = known.rate_id
        AND used.key = CASE WHEN known.rate_is_keyed THEN turns."group" ELSE '' END COLLATE "C"
), true))
"""

# A rate gives its next hundred starts their times, so that nobody has to look again for each of them.
WISH: Final = "CASE WHEN known.rate_id IS NULL THEN %(most)s::int ELSE 100 END"

# The heads of so many groups are enough; no more rows are locked than can be let through.
FAIR_SHARE: Final = f"ceil(({WISH})::float / (SELECT count(*) FROM open))"

PLACES_LEFT: Final = """
known.most - (
    SELECT count(*) FROM (
        SELECT FROM taskqueue_task place WHERE place.held = known.name
        ORDER BY place.held, place."group" LIMIT known.most
    ) AS places
)
"""

# Gated pipelines that would let a start through, with the place of that start in the queue.
OPENINGS: Final = f"""
openings AS MATERIALIZED (
    SELECT known.name, opening.sort_at
    FROM known {SPACING} CROSS JOIN LATERAL (
        WITH RECURSIVE {turns(AT_ONCE)}
        SELECT turns.sort_at FROM turns {ROOM} LIMIT 1
    ) AS opening
    WHERE known.gated AND known.has_starts AND NOT (known.name = ANY (%(passed)s::text[]))
        AND coalesce({PLACES_LEFT} > 0, true)
)
"""

# Gated pipelines whose walk came to its end without finding room: the next one has to begin where it ended.
WALKED: Final = f"""
walked AS MATERIALIZED (
    SELECT known.name FROM known CROSS JOIN LATERAL (
        WITH RECURSIVE {turns(AT_ONCE)}
        SELECT FROM turns WHERE turns.turn = {TURN_LIMITS[AT_ONCE]}
    ) AS final
    WHERE known.gated AND known.has_starts AND NOT EXISTS (SELECT FROM openings WHERE openings.name = known.name)
        AND coalesce({PLACES_LEFT} > 0, true)
)
"""

# The next one begins before the first that has room, or where this one ended. Whoever holds a gate walks by himself.
WALK_ON: Final = f"""
WITH {KNOWN}, {OPENINGS}, {WALKED}, further AS MATERIALIZED (
    SELECT walked.name, found.former, found.former IS NOT NULL AS has_room
    FROM walked JOIN known USING (name) {SPACING} LEFT JOIN LATERAL (
        WITH RECURSIVE {turns(WHEN_IDLE)}
        SELECT turns.former FROM turns {ROOM} LIMIT 1
    ) AS found ON true
), final AS MATERIALIZED (
    SELECT known.name, last."group" FROM further JOIN known USING (name) CROSS JOIN LATERAL (
        WITH RECURSIVE {turns(WHEN_IDLE)}
        SELECT turns."group" FROM turns WHERE turns.turn = {TURN_LIMITS[WHEN_IDLE]}
    ) AS last
    WHERE NOT further.has_room
), free AS MATERIALIZED (
    SELECT gate.pipeline_id FROM taskqueue_gate gate JOIN further ON further.name = gate.pipeline_id
    ORDER BY gate.pipeline_id FOR NO KEY UPDATE OF gate SKIP LOCKED
)
UPDATE taskqueue_gate gate SET last_group = coalesce(further.former, final."group")
FROM free JOIN further ON further.name = free.pipeline_id LEFT JOIN final ON final.name = further.name
WHERE gate.pipeline_id = free.pipeline_id AND coalesce(further.former, final."group") IS NOT NULL
RETURNING further.has_room
"""

LOCK_GATE: Final = "SELECT pipeline_id FROM taskqueue_gate WHERE pipeline_id = %(gate)s::text FOR NO KEY UPDATE"

# The groups that have room, in their turns. The one whose task has just ended comes last: a walk may end before it.
OPEN_TURNS: Final = f"""
SELECT * FROM (SELECT turns."group", turns.turn, turns.room FROM (
    SELECT turns."group", turns.turn, key_limit.room FROM turns {ROOM}
    UNION ALL
    SELECT turns."group", turns.turn, key_limit.room FROM (
        SELECT %(freed)s::text COLLATE "C" AS "group", NULL::int AS turn, (
            SELECT queue.sort_at FROM taskqueue_task queue
            WHERE queue.group_lane = known.name AND queue."group" = %(freed)s::text COLLATE "C"
            ORDER BY queue.sort_at, queue.id LIMIT 1
        ) AS sort_at
        WHERE %(freed)s::text <> '' AND NOT EXISTS (
            SELECT FROM turns WHERE turns."group" = %(freed)s::text COLLATE "C" AND turns.turn > 0
        )
    ) AS turns {ROOM}
) AS turns LIMIT {WISH}) AS open LIMIT 100
"""

# Under the gate's lock, in a statement after the one that took it, so that it sees what the last holder admitted. It
# waits for no task: one that somebody else holds is passed over. The limits of 100 are for the planner, as in a claim.
# What an end lets through, as the last place of all or of its key, has been held back until now, and so has what is
# given a later time; what a free worker lets through has been in the queue.
ADMIT: Final = f"""
WITH {KNOWN}, starts AS MATERIALIZED (
    SELECT start.id, start."group", start.turn, known.rate_id, spacing.gap, spacing.slack, spacing.ahead,
        %(by_end)s::boolean AND (
            places_left.number <= 1 OR start.room <= 1 AND start."group" = %(freed)s::text
        ) IS TRUE AS freed,
        CASE WHEN known.rate_is_keyed THEN start."group" ELSE '' END AS rate_key
    FROM known {SPACING} CROSS JOIN LATERAL (SELECT {PLACES_LEFT} AS number OFFSET 0) AS places_left
    CROSS JOIN LATERAL (SELECT * FROM (
        WITH RECURSIVE {turns(UNDER_THE_LOCK)}, open AS MATERIALIZED ({OPEN_TURNS}), heads AS (
            SELECT head.id, open."group", open.turn, open.room,
                row_number() OVER (PARTITION BY open."group" ORDER BY head.sort_at, head.id) AS number
            FROM open CROSS JOIN LATERAL (
                (SELECT free.id, free.sort_at FROM (
                    SELECT queue.id, queue.sort_at FROM taskqueue_task queue
                    WHERE open."group" <> '' AND queue.group_lane = known.name AND queue."group" = open."group"
                    ORDER BY queue.sort_at, queue.id
                    LIMIT 100
                    FOR NO KEY UPDATE SKIP LOCKED
                ) AS free LIMIT least(open.room, {FAIR_SHARE}))
                UNION ALL
                (SELECT free.id, free.sort_at FROM (
                    SELECT queue.id, queue.sort_at FROM taskqueue_task queue
                    WHERE open."group" = '' AND queue.lane = known.name || '+'
                    ORDER BY queue.sort_at, queue.id
                    LIMIT 100
                    FOR NO KEY UPDATE SKIP LOCKED
                ) AS free LIMIT least(open.room, {FAIR_SHARE}))
            ) AS head
        )
        SELECT heads.id, heads."group", heads.turn, heads.room FROM heads
        ORDER BY heads.number, heads.turn NULLS LAST
        LIMIT least(coalesce(places_left.number, 100), {WISH})
    ) AS start LIMIT 100) AS start
    WHERE known.gated
), numbered AS (
    SELECT starts.*, row_number() OVER (PARTITION BY rate_key ORDER BY turn NULLS LAST, id) AS number FROM starts
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
    SELECT booked.id, booked.rate_id, booked.freed,
        used.arrival_at - (bookings.number - booked.number + 1) * bookings.gap - bookings.slack AS allowed_at
    FROM booked
    LEFT JOIN bookings ON bookings.rate_key = booked.rate_key
    LEFT JOIN used ON used.key = booked.rate_key
), admitted AS (
    -- Locked above, so still queued. No condition says so: it would lead to the index of all that are.
    UPDATE taskqueue_task task
    SET admitted_at = statement_timestamp(),
        status = CASE WHEN timed.allowed_at > statement_timestamp() THEN 'waiting' ELSE 'queued' END,
        -- Until it passes: a start that comes late, because workers were busy, must not come together with the next.
        waits_at = coalesce(timed.rate_id, ''),
        due_at = greatest(timed.allowed_at, task.due_at),
        sort_at = greatest(timed.allowed_at, task.due_at) - make_interval(secs => task.priority),
        blocked_seconds = CASE WHEN judged.was_held THEN coalesce(task.blocked_seconds, 0)
            + extract(epoch FROM statement_timestamp() - coalesce(task.since, task.created_at))::float
            ELSE task.blocked_seconds END,
        since = CASE WHEN judged.was_held THEN statement_timestamp() ELSE task.since END
    FROM timed CROSS JOIN LATERAL (
        SELECT timed.freed OR coalesce(timed.allowed_at > statement_timestamp(), false) AS was_held
    ) AS judged
    WHERE task.id = timed.id AND task.id = ANY (ARRAY(SELECT id FROM timed))
    RETURNING task.id
), final AS MATERIALIZED (
    -- Nothing has room as far as the walk went: the next one goes on from there.
    SELECT final."group" FROM known CROSS JOIN LATERAL (
        WITH RECURSIVE {turns(UNDER_THE_LOCK)}
        SELECT turns."group" FROM turns WHERE turns.turn = {TURN_LIMITS[UNDER_THE_LOCK]}
    ) AS final
    WHERE known.gated AND NOT EXISTS (SELECT FROM starts WHERE turn IS NOT NULL)
), turned AS (
    UPDATE taskqueue_gate gate SET last_group = turn."group"
    FROM (
        (SELECT starts."group" FROM starts WHERE starts.turn IS NOT NULL ORDER BY starts.turn DESC LIMIT 1)
        UNION ALL
        SELECT final."group" FROM final
        LIMIT 1
    ) AS turn
    WHERE gate.pipeline_id = %(gate)s::text
)
SELECT id FROM admitted
"""
