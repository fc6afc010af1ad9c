"""Counts and search suggestions for the task list, each from a bounded number of rows."""

from __future__ import annotations

from typing import Final

# Count the tasks of each status, up to a limit. The array of one status, and the status in ORDER BY, leave the
# planner only the index of statuses: else it would walk the table by the primary key to find a rare one.
STATUS_COUNTS: Final = """
SELECT statuses.status, (
    SELECT count(*) FROM (
        SELECT FROM taskqueue_task task WHERE task.status = ANY (ARRAY[statuses.status]) AND task.parallel_step = ''
        ORDER BY task.status, task.id DESC LIMIT %(limit)s::int
    ) AS counted
)
FROM unnest(%(statuses)s::text[]) AS statuses(status)
"""

# The planner has to see this number.
COUNT_BY_PIPELINE_CAP: Final = 10_000
# Count the tasks of each pipeline and status, among the newest of the status. Parallel steps count with their parent.
COUNT_BY_PIPELINE: Final = f"""
SELECT statuses.status, counted.pipeline, counted.number, counted.rows
FROM unnest(%(statuses)s::text[]) AS statuses(status)
CROSS JOIN LATERAL (
    SELECT newest.pipeline_id AS pipeline, (count(*) FILTER (WHERE newest.parallel_step = ''))::int AS number,
        count(*)::int AS rows
    FROM (
        SELECT task.pipeline_id, task.parallel_step FROM taskqueue_task task
            WHERE task.status = ANY (ARRAY[statuses.status])
        ORDER BY task.status, task.id DESC LIMIT {COUNT_BY_PIPELINE_CAP}
    ) AS newest GROUP BY newest.pipeline_id
) AS counted
"""

# List the error types of failed attempts: from one to the next in the index, however many attempts there are of each.
ERROR_TYPES: Final = """
WITH RECURSIVE types(name, number) AS (
    (SELECT error_type, 1 FROM taskqueue_attempt ORDER BY error_type LIMIT 1)
    UNION ALL
    SELECT next.error_type, types.number + 1
    FROM types CROSS JOIN LATERAL (
        SELECT error_type FROM taskqueue_attempt WHERE error_type > types.name ORDER BY error_type LIMIT 1
    ) AS next
    WHERE types.number < %(limit)s::int
)
SELECT name FROM types
"""

# Find labels whose name or value is a word, among the newest tasks.
FIND_LABELS: Final = """
SELECT DISTINCT label.key, label.value
FROM (SELECT labels FROM taskqueue_task WHERE parallel_step = '' ORDER BY id DESC LIMIT %(newest)s::int) AS task
CROSS JOIN LATERAL jsonb_each_text(task.labels) AS label
WHERE lower(label.value) = lower(%(word)s) OR lower(label.key) = lower(%(word)s)
ORDER BY label.key, label.value LIMIT %(limit)s::int
"""
# Find paths, at most two names deep, at which the payloads of the newest tasks hold a word. Large payloads are
# skipped before they are read, and so are pipelines that the reader may not see.
FIND_PATHS: Final = """
SELECT DISTINCT found.path
FROM (
    SELECT payload, pg_column_size(payload) AS size, pipeline_id FROM taskqueue_task WHERE parallel_step = ''
    ORDER BY id DESC LIMIT %(newest)s::int
) AS task
CROSS JOIN LATERAL (
    SELECT upper.key, upper.value
    FROM jsonb_each(CASE jsonb_typeof(task.payload) WHEN 'object' THEN task.payload ELSE '{}'::jsonb END) AS upper
) AS upper
CROSS JOIN LATERAL (
    SELECT upper.key AS path WHERE upper.value #>> '{}' = %(word)s
    UNION ALL
    SELECT upper.key || '.' || lower.key
    FROM jsonb_each_text(CASE jsonb_typeof(upper.value) WHEN 'object' THEN upper.value ELSE '{}'::jsonb END) AS lower
    WHERE lower.value = %(word)s
) AS found
WHERE task.size < 8192 AND NOT task.pipeline_id = ANY (%(closed)s::text[]) AND found.path !~ '[\\s":]'
ORDER BY found.path LIMIT %(limit)s::int
"""

# Read the database's clock.
CLOCK: Final = "SELECT statement_timestamp()"

# Limit how long a statement may take, for the rest of a transaction.
SET_STATEMENT_TIMEOUT: Final = "SELECT set_config('statement_timeout', %(milliseconds)s::text, true)"
