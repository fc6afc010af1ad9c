"""What the list of tasks shows around its rows; each part bounded, whatever the tables hold."""

from __future__ import annotations

from typing import Final

# Up to the limit of each status, by its index. An array of one and the status in the order leave the planner no other:
# it would walk the table by the primary key to find a rare one.
STATUS_COUNTS: Final = """
SELECT known.status, (
    SELECT count(*) FROM (
        SELECT FROM taskqueue_task task WHERE task.status = ANY (ARRAY[known.status]) AND task.parallel_step = ''
        ORDER BY task.status, task.id DESC LIMIT %(limit)s::int
    ) AS counted
)
FROM unnest(%(statuses)s::text[]) AS known(status)
"""

# How many of them there are of each pipeline. Of each status so many of the newest are read, and what runs a step
# beside others is passed over: it counts with its parent. The number is told to the planner.
CENSUS_MOST: Final = 10_000
CENSUS: Final = f"""
SELECT known.status, counted.pipeline, counted.number, counted.rows
FROM unnest(%(statuses)s::text[]) AS known(status)
CROSS JOIN LATERAL (
    SELECT newest.pipeline_id AS pipeline, (count(*) FILTER (WHERE newest.parallel_step = ''))::int AS number,
        count(*)::int AS rows
    FROM (
        SELECT task.pipeline_id, task.parallel_step FROM taskqueue_task task
            WHERE task.status = ANY (ARRAY[known.status])
        ORDER BY task.status, task.id DESC LIMIT {CENSUS_MOST}
    ) AS newest GROUP BY newest.pipeline_id
) AS counted
"""

# From one type to the next in the index, however many tries there are of each.
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

# Where the newest tasks have a word: as name or value of a label, or at a path into their payloads, two names deep.
# Payloads that are large are passed over before they are read, and those of pipelines that are closed to the reader.
LABELS_WITH: Final = """
SELECT DISTINCT label.key, label.value
FROM (SELECT labels FROM taskqueue_task WHERE parallel_step = '' ORDER BY id DESC LIMIT %(newest)s::int) AS task
CROSS JOIN LATERAL jsonb_each_text(task.labels) AS label
WHERE lower(label.value) = lower(%(word)s) OR lower(label.key) = lower(%(word)s)
ORDER BY label.key, label.value LIMIT %(limit)s::int
"""
PATHS_WITH: Final = """
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

# Together with what a batch does, in its transaction: a second one finds the row locked, and passes over it.
NEXT_OPERATION: Final = """
SELECT id FROM taskqueue_bulkoperation
WHERE finished_at IS NULL
ORDER BY id LIMIT 1
FOR NO KEY UPDATE SKIP LOCKED
"""

MOMENT: Final = "SELECT statement_timestamp()"

# For the rest of a transaction.
BOUND_READS: Final = "SELECT set_config('statement_timeout', %(milliseconds)s::text, true)"
