"""Slots of steps, in pipelines with a limit of steps.

A slot counts while its task runs under its lease, so the slots of a dead worker are void by themselves. A task that
waited for a slot gets it before it is queued, under the lease that its next claim will have.
"""

from __future__ import annotations

from typing import Final

from taskqueue.engine.sql.journal import LEASED

# The slots of the pipeline that count.
SLOTS_IN_USE: Final = """live AS MATERIALIZED (
    SELECT slot.id, slot.task_id, slot.step_key, slot.concurrency_key
    FROM taskqueue_stepslot slot JOIN taskqueue_task task ON task.id = slot.task_id
    WHERE slot.pipeline_id = %(pipeline)s::text AND task.id = ANY (ARRAY(
        SELECT task_id FROM taskqueue_stepslot WHERE pipeline_id = %(pipeline)s::text
    )) AND (
        task.status = 'running' AND task.lease = slot.lease OR task.status = 'queued' AND task.lease = slot.lease - 1
    )
)"""

LIMITS: Final = """limits AS MATERIALIZED (
    SELECT coalesce(concurrency.steps, concurrency.declared_steps) AS most,
        coalesce(concurrency.steps_per_key, concurrency.declared_steps_per_key) AS most_per_key
    FROM taskqueue_concurrencylimit concurrency WHERE concurrency.pipeline_id = %(pipeline)s::text
)"""

# Take a slot for a step, if one is free. Under the pipeline's lock, in a statement after the one that took it. A slot
# that GRANT_SLOTS has given to the task is used first.
TAKE_SLOT: Final = f"""
WITH {LEASED}, {SLOTS_IN_USE}, {LIMITS}, granted AS (
    UPDATE taskqueue_stepslot slot SET step_key = %(key)s::text
    FROM leased
    WHERE slot.task_id = leased.id AND slot.lease = %(lease)s::int AND slot.step_key = ''
    RETURNING slot.id
), void AS (
    -- Slots that no longer count.
    DELETE FROM taskqueue_stepslot slot
    WHERE slot.pipeline_id = %(pipeline)s::text AND slot.id NOT IN (SELECT id FROM live)
        AND NOT (slot.task_id = %(task)s::uuid AND slot.step_key = %(key)s::text)
), acquired AS (
    INSERT INTO taskqueue_stepslot AS slot (pipeline_id, concurrency_key, task_id, lease, step_key)
    SELECT %(pipeline)s::text, %(concurrency_key)s::text, leased.id, %(lease)s::int, %(key)s::text
    FROM leased LEFT JOIN limits ON true
    WHERE NOT EXISTS (SELECT FROM granted)
        AND coalesce((SELECT count(*) FROM live) < limits.most, true)
        AND (%(concurrency_key)s::text = '' OR coalesce(
            (SELECT count(*) FROM live WHERE live.concurrency_key = %(concurrency_key)s::text) < limits.most_per_key,
            true
        ))
    ON CONFLICT (task_id, step_key) DO UPDATE SET lease = EXCLUDED.lease
    RETURNING slot.id
)
SELECT EXISTS (SELECT FROM granted UNION ALL SELECT FROM acquired) FROM leased
"""

# Give a step's slot back. A row when another task waits for one.
FREE_SLOT: Final = """
WITH freed AS (
    DELETE FROM taskqueue_stepslot
    WHERE task_id = %(task)s::uuid AND step_key = %(key)s::text AND lease = %(lease)s::int
)
SELECT true FROM taskqueue_task WHERE step_limit_queue = %(pipeline)s::text ORDER BY id LIMIT 1
"""

# Give free slots to the tasks that have waited longest, each concurrency key up to its limit, and queue them. Under
# the pipeline's lock.
GRANT_SLOTS: Final = f"""
WITH {SLOTS_IN_USE}, {LIMITS}, waiters AS MATERIALIZED (
    SELECT waiter.id, waiter.lease, waiter.concurrency_key FROM taskqueue_task waiter
    WHERE waiter.step_limit_queue = %(pipeline)s::text
    ORDER BY waiter.id LIMIT 1000
), ranked AS (
    SELECT waiters.*, row_number() OVER (ORDER BY waiters.id) AS position
    FROM (
        SELECT *, row_number() OVER (PARTITION BY concurrency_key ORDER BY id) AS number FROM waiters
    ) AS waiters CROSS JOIN limits
    WHERE waiters.concurrency_key = '' OR coalesce(waiters.number <= limits.most_per_key - (
        SELECT count(*) FROM live WHERE live.concurrency_key = waiters.concurrency_key
    ), true)
), ready AS MATERIALIZED (
    SELECT task.id, task.lease, task.concurrency_key FROM taskqueue_task task
    JOIN ranked USING (id) CROSS JOIN limits
    WHERE coalesce(ranked.position <= limits.most - (SELECT count(*) FROM live), true)
        AND task.step_limit_queue IS NOT NULL
    FOR NO KEY UPDATE OF task SKIP LOCKED
), granted AS (
    INSERT INTO taskqueue_stepslot (pipeline_id, concurrency_key, task_id, lease, step_key)
    SELECT %(pipeline)s::text, ready.concurrency_key, ready.id, ready.lease + 1, '' FROM ready
    ON CONFLICT (task_id, step_key) DO UPDATE SET lease = EXCLUDED.lease
)
UPDATE taskqueue_task task
SET status = 'queued', blocked_on = '', due_at = statement_timestamp(),
    sort_at = statement_timestamp() - make_interval(secs => task.priority)
FROM ready
WHERE task.id = ready.id AND task.id = ANY (ARRAY(SELECT id FROM ready))
RETURNING task.id
"""

# List the pipelines whose tasks wait for a slot of a step: each once, by one index probe after the other.
PIPELINES_WAITING_FOR_SLOTS: Final = """
WITH RECURSIVE pipelines AS (
    (SELECT step_limit_queue FROM taskqueue_task WHERE step_limit_queue IS NOT NULL ORDER BY step_limit_queue, id
        LIMIT 1)
    UNION ALL
    SELECT (
        SELECT task.step_limit_queue FROM taskqueue_task task
        WHERE task.step_limit_queue > pipelines.step_limit_queue ORDER BY task.step_limit_queue, task.id LIMIT 1
    )
    FROM pipelines WHERE pipelines.step_limit_queue IS NOT NULL
)
SELECT step_limit_queue FROM pipelines WHERE step_limit_queue IS NOT NULL
"""
