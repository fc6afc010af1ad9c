"""Concurrency limits: which tasks may start, and giving them their slots.

`LOCK_CONCURRENCY_LIMIT`,
then `ADMIT` under its lock; `WALK_ON` for keys that no claim has reached. A task of a limited pipeline
waits until it has a slot (`Task.slot_acquired_at`); then it is claimed like all others. Concurrency keys take turns:
the keys of a pipeline are walked by index, one probe each, from the one that was served last. So neither a long queue
of one key nor the number of tasks costs anything.
"""

from __future__ import annotations

from typing import Final

# The time between two uses of a rate. Rounded up to a whole microsecond, as `policies.Rate.interval` is: with three per
# second in 0.999,999 s a fourth would fit into the second.
GAP: Final = """(
    ceil(extract(epoch FROM coalesce(rate.per, rate.declared_per)) * 1000000
        / coalesce(rate.count, rate.declared_count))::bigint * interval '1 microsecond'
)"""

# The queues of the pipelines that this process has the code of, by one index probe each: the first task that has a
# slot, the first that has not started and has no key, and whether any waits in the queue of its key.
QUEUES: Final = """queues AS MATERIALIZED (
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
)"""

# The pipelines with tasks in a queue that are not paused, with their limits. Tasks in the queue of a key need admission
# also when there is no limit any more: the code may have had a key when they were created.
KNOWN: Final = f"""{QUEUES}, known AS MATERIALIZED (
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
)"""

# The rate limit of a pipeline's starts. Times are reserved a minute ahead, or one interval if that is longer.
SPACING: Final = f"""LEFT JOIN LATERAL (
    SELECT rounded.gap, rounded.gap * (coalesce(rate.burst, rate.declared_burst) - 1) AS slack,
        greatest(rounded.gap, interval '1 minute') AS ahead
    FROM taskqueue_ratelimit rate CROSS JOIN LATERAL (SELECT {GAP} AS gap) AS rounded
    WHERE rate.name = known.rate_id
) AS spacing ON true"""

AT_ONCE: Final = 16
"""How many keys a claim looks at before it leaves a pipeline whose keys are all full; so many cost half of a claim."""
UNDER_THE_LOCK: Final = 64
"""The same for ADMIT."""
WHEN_IDLE: Final = 1000
"""The same for WALK_ON, once a second, when the keys that claims look at are full."""


def turns(most: int) -> str:
    """The keys of one pipeline that have tasks to start, in their turns, so many at the most.

    First the keys after the last one served, then from the beginning up to it. The empty key is the queue of tasks
    without one. The next key is found before it is compared with the last one served: within the probe, the comparison
    would filter all tasks behind it.
    """
    return f"""turns AS (
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
    WHERE turns.turn < {most}
)"""


# How many more tasks of a key may start: as many as its limit leaves slots for, none while its rate is used up.
ROOM: Final = """CROSS JOIN LATERAL (
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
), true))"""

# A rate gives its next hundred starts their times at once.
WISH: Final = "CASE WHEN known.rate_id IS NULL THEN %(most)s::int ELSE 100 END"

# How many tasks of each key: no more rows are locked than can start.
FAIR_SHARE: Final = f"ceil(({WISH})::float / (SELECT count(*) FROM open))"

# How many slots of the pipeline are free; null without a limit.
PLACES_LEFT: Final = """known.most - (
    SELECT count(*) FROM (
        SELECT FROM taskqueue_task place WHERE place.slot_pipeline = known.name
        ORDER BY place.slot_pipeline, place.concurrency_key LIMIT known.most
    ) AS places
)"""

# The limited pipelines of which a task could start, with that task's position in the queue.
OPENINGS: Final = f"""openings AS MATERIALIZED (
    SELECT known.name, opening.sort_at
    FROM known {SPACING} CROSS JOIN LATERAL (
        WITH RECURSIVE {turns(AT_ONCE)}
        SELECT turns.sort_at FROM turns {ROOM} LIMIT 1
    ) AS opening
    WHERE known.is_limited AND known.has_starts AND NOT (known.name = ANY (%(passed)s::text[]))
        AND coalesce({PLACES_LEFT} > 0, true)
)"""

# The limited pipelines whose walk found only full keys: WALK_ON goes on from there.
WALKED: Final = f"""walked AS MATERIALIZED (
    SELECT known.name FROM known CROSS JOIN LATERAL (
        WITH RECURSIVE {turns(AT_ONCE)}
        SELECT FROM turns WHERE turns.turn = {AT_ONCE}
    ) AS final
    WHERE known.is_limited AND known.has_starts AND NOT EXISTS (SELECT FROM openings WHERE openings.name = known.name)
        AND coalesce({PLACES_LEFT} > 0, true)
)"""

# Move the walk on over keys that are full: the next one begins at the first key with a free slot, or where this one
# ended. Pipelines whose lock another process has are skipped: it walks itself.
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
        SELECT turns.concurrency_key FROM turns WHERE turns.turn = {WHEN_IDLE}
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

# Lock a pipeline's limits, before ADMIT or GRANT_SLOTS.
LOCK_CONCURRENCY_LIMIT: Final = (
    "SELECT pipeline_id FROM taskqueue_concurrencylimit WHERE pipeline_id = %(limited)s::text FOR NO KEY UPDATE"
)

# The keys that have room, in their turns. The key whose task has just ended comes last: a walk may end before it.
OPEN_TURNS: Final = f"""open AS MATERIALIZED (
    SELECT * FROM (
        SELECT turns.concurrency_key, turns.turn, turns.room FROM (
            SELECT turns.concurrency_key, turns.turn, key_limit.room FROM turns
            {ROOM}
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
            ) AS turns
            {ROOM}
        ) AS turns LIMIT {WISH}
    ) AS open LIMIT 100
)"""

# Give slots to the tasks that may start. Under the lock of LOCK_CONCURRENCY_LIMIT, in a statement after it, to see
# what the last
# holder of the lock admitted. It waits for no task: a locked one is skipped. The limits of 100 are for the planner, as
# in a claim. A task that gets the last slot, of all or of its key, when another task ends, was blocked until now, and
# so was one that gets a later time; a task that a free worker admits was queued.
ADMIT: Final = f"""
WITH {KNOWN}, starts AS MATERIALIZED (
    SELECT start.id, start.concurrency_key, start.turn, known.rate_id, spacing.gap, spacing.slack, spacing.ahead,
        %(by_end)s::boolean AND (
            places_left.number <= 1 OR start.room <= 1 AND start.concurrency_key = %(freed)s::text
        ) IS TRUE AS freed,
        CASE WHEN known.rate_is_keyed THEN start.concurrency_key ELSE '' END AS rate_key
    FROM known {SPACING} CROSS JOIN LATERAL (SELECT {PLACES_LEFT} AS number OFFSET 0) AS places_left
    CROSS JOIN LATERAL (SELECT * FROM (
        WITH RECURSIVE {turns(UNDER_THE_LOCK)}, {OPEN_TURNS}, heads AS (
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
    -- Only tasks whose time comes soon. The others get theirs later, so that a changed rate counts at once.
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
    -- Locked above, so still queued. A condition on the status would lead to the index of statuses.
    UPDATE taskqueue_task task
    SET slot_acquired_at = statement_timestamp(),
        status = CASE WHEN timed.allowed_at > statement_timestamp() THEN 'waiting' ELSE 'queued' END,
        -- Until START lets it pass: a late start, because workers were busy, must not come together with the next one.
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
    -- No key has room as far as the walk went: the next one goes on from there.
    SELECT final.concurrency_key FROM known CROSS JOIN LATERAL (
        WITH RECURSIVE {turns(UNDER_THE_LOCK)}
        SELECT turns.concurrency_key FROM turns WHERE turns.turn = {UNDER_THE_LOCK}
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
