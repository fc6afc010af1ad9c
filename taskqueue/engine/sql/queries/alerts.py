"""Read what alerts compare: the failures of the last hour, and the connections of the server."""

from __future__ import annotations

from typing import Final

# Read the pipelines with some failed tasks in the last hour, and how they did in the seven days before. Hours are of
# whole quarters, as the rollups count.
FAILURE_RATES: Final = """
WITH clock AS (
    SELECT date_bin('15 minutes', statement_timestamp(), '2000-01-01 00:00:00+00') - interval '45 minutes' AS since
), failing AS MATERIALIZED (
    SELECT rollup.pipeline, sum(rollup.failed)::int AS failed, sum(rollup.succeeded + rollup.failed)::int AS decided
    FROM clock JOIN taskqueue_rollup rollup ON rollup.span = 15 AND rollup.at >= clock.since
    WHERE rollup.pipeline <> ''
    GROUP BY rollup.pipeline HAVING sum(rollup.failed) >= %(least)s::int
)
SELECT failing.pipeline, failing.failed, failing.decided, usual.failed, usual.decided
FROM clock CROSS JOIN failing CROSS JOIN LATERAL (
    SELECT coalesce(sum(rollup.failed), 0)::int AS failed,
        coalesce(sum(rollup.succeeded + rollup.failed), 0)::int AS decided
    FROM taskqueue_rollup rollup
    WHERE rollup.span = 15 AND rollup.pipeline = failing.pipeline
        AND rollup.at >= clock.since - interval '7 days' AND rollup.at < clock.since
) AS usual
"""

# Count the connections that the server allows to the project, and those that are left.
CONNECTIONS_LEFT: Final = """
SELECT maximum, maximum - (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend')
FROM (SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int)
    AS server (maximum)
"""
