"""Statements of the gates: which pipelines have starts that their limits let through, and letting them through.

A limited pipeline's tasks wait in `blocked_queue` until they have a slot (`Task.slot_acquired_at`); then they are
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
        WHERE queue.ready_queue = code.name COLLATE "C"
        ORDER BY queue.sort_at, queue.id LIMIT 1
    ) AS going_at, (
        SELECT queue.sort_at FROM taskqueue_task queue
        WHERE queue.ready_queue = (code.name || '+') COLLATE "C"
        ORDER BY queue.sort_at, queue.id LIMIT 1
    ) AS fresh_at, (
        SELECT true FROM taskqueue_task queue
        WHERE queue.blocked_queue = code.name COLLATE "C"
        ORDER BY queue.concurrency_key, queue.sort_at, queue.id LIMIT 1
    ) AS in_groups
    FROM unnest(%(pipelines)s::text[], %(codes)s::text[]) AS code (name, fingerprint)
)
"""

# Those of them that nobody has paused, with what holds their starts back. What stands in the queue of a group goes
# through the gate also when there is no limit any more: the code may have had a key when it was made.
KNOWN: Final = f"""
{QUEUES}, known AS MATERIALIZED (
    SELECT pipeline.name, queues.fingerprint, queues.going_at, queues.fresh_at,
        coalesce(concurrency.tasks, concurrency.declared_tasks) AS most,
        coalesce(concurrency.tasks_per_key, concurrency.declared_tasks_per_key) AS most_per_key,
        coalesce(
            concurrency.tasks, concurrency.declared_tasks, concurrency.tasks_per_key, concurrency.declared_tasks_per_key
        ) IS NOT NULL OR concurrency.rate_id IS NOT NULL OR queues.in_groups IS NOT NULL AS is_limited,
        queues.fresh_at IS NOT NULL OR queues.in_groups IS NOT NULL AS has_starts,
        coalesce(
            concurrency.steps, concurrency.declared_steps, concurrency.steps_per_key, concurrency.declared_steps_per_key
        ) IS NOT NULL AS stepped,
        concurrency.rate_id, concurrency.rate_is_keyed, coalesce(concurrency.last_served_key, '') AS last_served_key
    FROM queues
    JOIN taskqueue_pipeline pipeline ON pipeline.name = queues.name COLLATE "C" AND pipeline.paused_at IS NULL
    LEFT JOIN taskqueue_concurrencylimit concurrency ON concurrency.pipeline_id = pipeline.name
    WHERE queues.going_at IS NOT NULL OR queues.fresh_at IS NOT NULL OR queues.in_groups IS NOT NULL
)
"""

# Of a pipeline whose starts are limited by a rate. Reservations are made a minute ahead, or one interval if that is
# longer.
SPACING: Final = f"""
LEFT JOIN LATERAL (
    SELECT rounded.gap, rounded.gap * (coalesce(rate.burst, rate.declared_burst) - 1) AS slack,
        greatest(rounded.gap, interval '1 minute') AS ahead
    FROM taskqueue_ratelimit rate CROSS JOIN LATERAL (SELECT {GAP} AS gap) AS rounded
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
    SELECT 0 AS half, known.last_served_key::text COLLATE "C" AS concurrency_key, NULL::timestamptz AS sort_at,
    0 AS turn,
        NULL::text COLLATE "C" AS former
    UNION ALL
    SELECT following.half, following.concurrency_key, following.sort_at, turns.turn + 1, turns.concurrency_key
    FROM turns CROSS JOIN LATERAL (
        SELECT turns.half, next.concurrency_key, next.sort_at FROM (
            SELECT queue.concurrency_key::text COLLATE "C" AS concurrency_key, queue.sort_at
            FROM taskqueue_task queue
            WHERE queue.blocked_queue = known.name AND queue.concurrency_key > turns.concurrency_key
            ORDER BY queue.concurrency_key, queue.sort_at, queue.id LIMIT 1
        ) AS next
        WHERE turns.half = 0 OR next.concurrency_key <= known.last_served_key
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
    SELECT CASE WHEN known.most_per_key IS NULL OR turns.concurrency_key = '' THEN 100 ELSE known.most_per_key - (
        SELECT count(*) FROM (
            SELECT FROM taskqueue_task place
            WHERE place.slot_pipeline = known.name AND place.concurrency_key = turns.concurrency_key
            ORDER BY place.slot_pipeline, place.concurrency_key LIMIT known.most_per_key
        ) AS places
    ) END AS room
) AS key_limit
WHERE turns.sort_at IS NOT NULL AND key_limit.room > 0 AND (known.rate_id IS NULL OR coalesce((
    SELECT greatest(used.theoretical_arrival_at - spacing.slack,
        used.blocked_until) <= statement_timestamp() + spacing.ahead
    FROM taskqueue_ratelimitbucket used
    WHERE used.rate_id = known.rate_id
        AND used.key = CASE WHEN known.rate_is_keyed THEN turns.concurrency_key ELSE '' END COLLATE "C"
), true))
"""

# A rate gives its next hundred starts their times, so that nobody has to look again for each of them.
WISH: Final = "CASE WHEN known.rate_id IS NULL THEN %(most)s::int ELSE 100 END"

# The heads of so many groups are enough; no more rows are locked than can be let through.
FAIR_SHARE: Final = f"ceil(({WISH})::float / (SELECT count(*) FROM open))"

PLACES_LEFT: Final = """
known.most - (
    SELECT count(*) FROM (
        SELECT FROM taskqueue_task place WHERE place.slot_pipeline = known.name
        ORDER BY place.slot_pipeline, place.concurrency_key LIMIT known.most
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
    WHERE known.is_limited AND known.has_starts AND NOT (known.name = ANY (%(passed)s::text[]))
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
    WHERE known.is_limited AND known.has_starts AND NOT EXISTS (SELECT FROM openings WHERE openings.name = known.name)
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
    SELECT known.name, last.concurrency_key FROM further JOIN known USING (name) CROSS JOIN LATERAL (
        WITH RECURSIVE {turns(WHEN_IDLE)}
        SELECT turns.concurrency_key FROM turns WHERE turns.turn = {TURN_LIMITS[WHEN_IDLE]}
    ) AS last
    WHERE NOT further.has_room
), free AS MATERIALIZED (
    SELECT concurrency.pipeline_id FROM taskqueue_concurrencylimit concurrency JOIN further
        ON further.name = concurrency.pipeline_id
    ORDER BY concurrency.pipeline_id FOR NO KEY UPDATE OF concurrency SKIP LOCKED
)
UPDATE taskqueue_concurrencylimit concurrency SET last_served_key = coalesce(further.former, final.concurrency_key)
FROM free JOIN further ON further.name = free.pipeline_id LEFT JOIN final ON final.name = further.name
WHERE concurrency.pipeline_id = free.pipeline_id AND coalesce(further.former, final.concurrency_key) IS NOT NULL
RETURNING further.has_room
"""

LOCK_CONCURRENCY_LIMIT: Final = (
    "SELECT pipeline_id FROM taskqueue_concurrencylimit WHERE pipeline_id = %(limited)s::text FOR NO KEY UPDATE"
)

# The groups that have room, in their turns. The one whose task has just ended comes last: a walk may end before it.
OPEN_TURNS: Final = f"""
SELECT * FROM (SELECT turns.concurrency_key, turns.turn, turns.room FROM (
    SELECT turns.concurrency_key, turns.turn, key_limit.room FROM turns {ROOM}
    UNION ALL
    SELECT turns.concurrency_key, turns.turn, key_limit.room FROM (
        SELECT %(freed)s::text COLLATE "C" AS concurrency_key, NULL::int AS turn, (
            SELECT queue.sort_at FROM taskqueue_task queue
            WHERE queue.blocked_queue = known.name AND queue.concurrency_key = %(freed)s::text COLLATE "C"
            ORDER BY queue.sort_at, queue.id LIMIT 1
        ) AS sort_at
        WHERE %(freed)s::text <> '' AND NOT EXISTS (
            SELECT FROM turns WHERE turns.concurrency_key = %(freed)s::text COLLATE "C" AND turns.turn > 0
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
    SELECT start.id, start.concurrency_key, start.turn, known.rate_id, spacing.gap, spacing.slack, spacing.ahead,
        %(by_end)s::boolean AND (
            places_left.number <= 1 OR start.room <= 1 AND start.concurrency_key = %(freed)s::text
        ) IS TRUE AS freed,
        CASE WHEN known.rate_is_keyed THEN start.concurrency_key ELSE '' END AS rate_key
    FROM known {SPACING} CROSS JOIN LATERAL (SELECT {PLACES_LEFT} AS number OFFSET 0) AS places_left
    CROSS JOIN LATERAL (SELECT * FROM (
        WITH RECURSIVE {turns(UNDER_THE_LOCK)}, open AS MATERIALIZED ({OPEN_TURNS}), heads AS (
            SELECT head.id, open.concurrency_key, open.turn, open.room,
                row_number() OVER (PARTITION BY open.concurrency_key ORDER BY head.sort_at, head.id) AS number
            FROM open CROSS JOIN LATERAL (
                (SELECT free.id, free.sort_at FROM (
                    SELECT queue.id, queue.sort_at FROM taskqueue_task queue
                    WHERE open.concurrency_key <> '' AND queue.blocked_queue = known.name
                        AND queue.concurrency_key = open.concurrency_key
                    ORDER BY queue.sort_at, queue.id
                    LIMIT 100
                    FOR NO KEY UPDATE SKIP LOCKED
                ) AS free LIMIT least(open.room, {FAIR_SHARE}))
                UNION ALL
                (SELECT free.id, free.sort_at FROM (
                    SELECT queue.id, queue.sort_at FROM taskqueue_task queue
                    WHERE open.concurrency_key = '' AND queue.ready_queue = known.name || '+'
                    ORDER BY queue.sort_at, queue.id
                    LIMIT 100
                    FOR NO KEY UPDATE SKIP LOCKED
                ) AS free LIMIT least(open.room, {FAIR_SHARE}))
            ) AS head
        )
        SELECT heads.id, heads.concurrency_key, heads.turn, heads.room FROM heads
        ORDER BY heads.number, heads.turn NULLS LAST
        LIMIT least(coalesce(places_left.number, 100), {WISH})
    ) AS start LIMIT 100) AS start
    WHERE known.is_limited
), numbered AS (
    SELECT starts.*, row_number() OVER (PARTITION BY rate_key ORDER BY turn NULLS LAST, id) AS number FROM starts
), booked AS MATERIALIZED (
    -- Only those whose time would come soon; the others are given theirs later, so that a changed rate counts at once.
    SELECT numbered.* FROM numbered LEFT JOIN taskqueue_ratelimitbucket used
        ON used.rate_id = numbered.rate_id AND used.key = numbered.rate_key COLLATE "C"
    WHERE numbered.rate_id IS NULL
        OR greatest(used.theoretical_arrival_at - slack, used.blocked_until, statement_timestamp()) + (number - 1) * gap
            - greatest(slack, interval '0') <= statement_timestamp() + ahead
), bookings AS MATERIALIZED (
    SELECT rate_id, rate_key, gap, slack, count(*) AS number FROM booked
    WHERE rate_id IS NOT NULL GROUP BY rate_id, rate_key, gap, slack
), used AS (
    INSERT INTO taskqueue_ratelimitbucket AS used (rate_id, key, theoretical_arrival_at, admitted, last_admitted_at,
        block_reason)
    SELECT rate_id, rate_key, statement_timestamp() + number * gap, number, statement_timestamp(), '' FROM bookings
    ON CONFLICT (rate_id, key) DO UPDATE
    SET theoretical_arrival_at = greatest(
            used.theoretical_arrival_at, statement_timestamp(),
            used.blocked_until + (SELECT slack FROM bookings WHERE rate_key = EXCLUDED.key)
        ) + EXCLUDED.admitted * (SELECT gap FROM bookings WHERE rate_key = EXCLUDED.key),
        admitted = used.admitted + EXCLUDED.admitted, last_admitted_at = statement_timestamp()
    RETURNING used.key, used.theoretical_arrival_at
), timed AS (
    SELECT booked.id, booked.rate_id, booked.freed,
        used.theoretical_arrival_at
            - (bookings.number - booked.number + 1) * bookings.gap - bookings.slack AS allowed_at
    FROM booked
    LEFT JOIN bookings ON bookings.rate_key = booked.rate_key
    LEFT JOIN used ON used.key = booked.rate_key
), admitted AS (
    -- Locked above, so still queued. No condition says so: it would lead to the index of all that are.
    UPDATE taskqueue_task task
    SET slot_acquired_at = statement_timestamp(),
        status = CASE WHEN timed.allowed_at > statement_timestamp() THEN 'waiting' ELSE 'queued' END,
        -- Until it passes: a start that comes late, because workers were busy, must not come together with the next.
        blocked_on = coalesce(timed.rate_id, ''),
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
    SELECT final.concurrency_key FROM known CROSS JOIN LATERAL (
        WITH RECURSIVE {turns(UNDER_THE_LOCK)}
        SELECT turns.concurrency_key FROM turns WHERE turns.turn = {TURN_LIMITS[UNDER_THE_LOCK]}
    ) AS final
    WHERE known.is_limited AND NOT EXISTS (SELECT FROM starts WHERE turn IS NOT NULL)
), turned AS (
    UPDATE taskqueue_concurrencylimit concurrency SET last_served_key = turn.concurrency_key
    FROM (
        (SELECT starts.concurrency_key FROM starts WHERE starts.turn IS NOT NULL ORDER BY starts.turn DESC LIMIT 1)
        UNION ALL
        SELECT final.concurrency_key FROM final
        LIMIT 1
    ) AS turn
    WHERE concurrency.pipeline_id = %(limited)s::text
)
SELECT id FROM admitted
"""
