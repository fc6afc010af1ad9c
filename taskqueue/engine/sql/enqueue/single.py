"""`ENQUEUE` and `ENQUEUE_PLAIN`: create one task, in one statement."""

from __future__ import annotations

from typing import Final, LiteralString

# The row of a request's key, as a range: with an order only the key's index fits it, whatever the statistics say.
OF_KEY: Final = """(taken.pipeline_id, taken.key) >= (%(pipeline)s::text, %(key)s::text)
            AND (taken.pipeline_id, taken.key) <= (%(pipeline)s::text, %(key)s::text)"""

# Whether a request's key belongs to a task, by a read that takes no lock: callers with one key must not wait for each
# other, once its task exists.
KEY_IS_FREE: Final = f"""(%(force)s::boolean OR (
        SELECT true FROM taskqueue_idempotencykey taken
        WHERE {OF_KEY} AND taken.expires_at > statement_timestamp()
        ORDER BY taken.pipeline_id, taken.key LIMIT 1
    ) IS NULL)"""

# Whether the pipeline has a row. It has none yet in a new deploy or an emptied test database.
PIPELINE_EXISTS: Final = "EXISTS (SELECT FROM taskqueue_pipeline WHERE name = %(pipeline)s::text)"


def insert_task(due: LiteralString, columns: LiteralString = "", values: LiteralString = "") -> LiteralString:
    """The INSERT of one task, without its conditions.

    Args:
        due: when it may start.
        columns: what this task has beyond a plain one, and `values` theirs; each begins with a comma.
    """
    return f"""INSERT INTO taskqueue_task (
    id, pipeline_id, status, key, labels, subject, priority, payload, due_at, sort_at, lease, failures, progress_note,
    created_at, concurrency_key, version, start_by, finish_within, cancel_grace, notify_completion{columns}
)
SELECT
    %(id)s::uuid, %(pipeline)s::text, CASE WHEN due.at > statement_timestamp() THEN 'scheduled' ELSE 'queued' END,
    %(key)s::text, %(labels)s::jsonb, %(subject)s::text, %(priority)s::smallint, %(payload)s::jsonb,
    due.at, due.at - make_interval(secs => %(priority)s::smallint), 0, 0, '', statement_timestamp(),
    %(concurrency_key)s::text, %(version)s::text, due.at + %(start_within)s::interval, %(finish_within)s::interval,
    %(cancel_grace)s::interval, %(notify_completion)s::boolean{values}
FROM (SELECT {due} AS at) AS due"""


# Notify the workers as the task is committed, if the statement is a transaction of its own. A commit that notifies
# locks the whole server until the disk has it, so that such commits come one after the other. So only one caller at a
# time notifies in this way; the others, which do not get this lock, notify after their commits. No notification may
# make a task fail: a full queue of notifications would.
NOTIFIED: Final = """CASE WHEN %(is_alone)s::boolean AND pg_notification_queue_usage() < 0.5
    AND pg_try_advisory_xact_lock(%(notify_lock)s::bigint) THEN pg_notify(%(channel)s::text, '') IS NOT NULL
    ELSE false END"""

# The time of the creation, that of the start if it is another one (reading a time costs psycopg more than the rest),
# and whether the workers are notified.
CREATED: Final = f"RETURNING created_at, nullif(due_at, created_at), {NOTIFIED}"

# Create a task that no existing task can serve, and that no task, event or schedule creates. No row when its pipeline
# has none.
ENQUEUE_PLAIN: Final = f"""
{insert_task("greatest(%(run_at)s::timestamptz, statement_timestamp())")}
WHERE {PIPELINE_EXISTS}
{CREATED}
"""

OTHER_COLUMNS: Final = """,
    rerun_of_id, debounce_key, singleton_key, cron_at, event_id, parent_id, parent_key, parallel_step, depth,
    shares_slot"""
OTHER_VALUES: Final = """,
    %(rerun_of)s::uuid, %(debounce_key)s::text, %(singleton_key)s::text, %(cron_at)s::timestamptz, %(event)s::uuid,
    %(parent)s::uuid, %(parent_key)s::text, '', %(depth)s::smallint, false"""
START: Final = "greatest(%(run_at)s::timestamptz, statement_timestamp() + %(delay)s::interval)"

# Create any task, with its idempotency key. No row when its key stands for another task, when a unique index
# (singleton, debounce, the run of a schedule) finds one, or when its pipeline has no row.
ENQUEUE: Final = f"""
WITH reserved AS (
    -- Of several callers with a new key the first wins; the others wait for its commit and then insert no task.
    INSERT INTO taskqueue_idempotencykey AS existing (pipeline_id, key, task_id, expires_at, payload_digest)
    SELECT %(pipeline)s::text, %(key)s::text, %(id)s::uuid, statement_timestamp() + %(window)s::interval,
        %(payload_digest)s::text
    WHERE %(key)s::text <> '' AND {PIPELINE_EXISTS} AND {KEY_IS_FREE}
    ON CONFLICT (pipeline_id, key) DO UPDATE SET task_id = EXCLUDED.task_id, expires_at = EXCLUDED.expires_at,
        payload_digest = EXCLUDED.payload_digest
    WHERE existing.expires_at <= statement_timestamp() OR %(force)s::boolean
    RETURNING 1
)
{insert_task(START, OTHER_COLUMNS, OTHER_VALUES)}
WHERE {PIPELINE_EXISTS} AND (%(key)s::text = '' OR EXISTS (SELECT FROM reserved))
-- A singleton, a debounced task, a batch, or the run of a schedule that exists already.
ON CONFLICT DO NOTHING
{CREATED}
"""
