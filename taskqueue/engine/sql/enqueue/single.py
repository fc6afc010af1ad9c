"""`ENQUEUE_PLAIN`: create one task that no existing task can serve, in one statement."""

from __future__ import annotations

from typing import Final, LiteralString

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


# The advisory lock of the caller that notifies as it commits ("tqnt" in ASCII).
NOTIFY_LOCK: Final = 0x74716E74

# Notify the workers as the task is committed, if the statement is a transaction of its own. A commit that notifies
# locks the whole server until the disk has it, so that such commits come one after the other. So only one caller at a
# time notifies in this way; the others, which do not get this lock, notify after their commits. No notification may
# make a task fail: a full queue of notifications would.
NOTIFIED: Final = f"""CASE WHEN %(is_alone)s::boolean AND pg_notification_queue_usage() < 0.5
    AND pg_try_advisory_xact_lock({NOTIFY_LOCK}) THEN pg_notify(%(channel)s::text, '') IS NOT NULL
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
