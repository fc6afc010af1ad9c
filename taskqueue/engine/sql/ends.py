"""Statements of ends that are taken back, because a person retries the task, and of counts of ends that only rise."""

from __future__ import annotations

from typing import Final, LiteralString

from taskqueue.engine.sql.rollups import ENDED, OUTCOMES, each_phase, summed

# In the transaction of the retry, before it.
REOPEN: Final = f"""
INSERT INTO taskqueue_reopened (
    finished_at, pipeline, status, ran, waited, tried, repaired, {each_phase("<phase>")}
)
SELECT task.finished_at, {ENDED} FROM taskqueue_task task
WHERE task.id = %(task)s::uuid AND task.finished_at IS NOT NULL AND task.parallel_step = ''
"""

# The first that lies in minutes which are rolled but not closed: those are simply counted again.
FIRST_REOPENED: Final = """
SELECT date_bin('1 minute', min(finished_at), 'epoch') FROM taskqueue_reopened
WHERE finished_at >= %(closed)s::timestamptz AND finished_at < %(rolled)s::timestamptz
"""


def without(name: LiteralString) -> LiteralString:
    """A histogram without the places that are taken back."""
    return f"""ARRAY(
        SELECT greatest(place.number - (SELECT count(*) FROM unnest(gone.{name}) AS bucket
                                        WHERE bucket = place.place - 1), 0)::int
        FROM unnest(known.{name}) WITH ORDINALITY AS place (number, place) ORDER BY place.place
    )"""


# Out of minutes that are closed, where they were counted: whatever the closing statement saw taken back, it deleted.
# The tasks of a closed minute cannot be counted again, for some may have been pruned.
TAKE_BACK: Final = f"""
WITH gone AS (
    DELETE FROM taskqueue_reopened WHERE id IN (
        SELECT id FROM taskqueue_reopened WHERE finished_at < %(closed)s::timestamptz ORDER BY finished_at LIMIT 1000
    ) RETURNING *
), change AS (
    SELECT spans.span, date_bin(spans.span * interval '1 minute', gone.finished_at, 'epoch') AS at, names.name,
        {OUTCOMES}, array_agg(gone.ran) FILTER (WHERE gone.ran IS NOT NULL) AS ran,
        array_agg(gone.waited) FILTER (WHERE gone.waited IS NOT NULL) AS waited
    FROM gone CROSS JOIN (VALUES (1), (15)) AS spans (span)
    CROSS JOIN LATERAL (VALUES (gone.pipeline), ('')) AS names (name)
    GROUP BY 1, 2, 3
)
UPDATE taskqueue_rollup known SET
    succeeded = greatest(known.succeeded - gone.succeeded, 0),
    recovered = greatest(known.recovered - gone.recovered, 0),
    repaired = greatest(known.repaired - gone.repaired, 0), failed = greatest(known.failed - gone.failed, 0),
    cancelled = greatest(known.cancelled - gone.cancelled, 0), ran = {without("ran")}, waited = {without("waited")},
    {each_phase("<phase> = greatest(known.<phase> - gone.<phase>, 0)")}
FROM change gone
WHERE known.span = gone.span AND known.at = gone.at AND known.pipeline = gone.name
"""


def together(name: LiteralString) -> LiteralString:
    """Two histograms as one."""
    return f"""ARRAY(
        SELECT coalesce(one.number, 0) + coalesce(other.number, 0)
        FROM unnest(known.{name}) WITH ORDINALITY AS one (number, place)
        FULL JOIN unnest(EXCLUDED.{name}) WITH ORDINALITY AS other (number, place) USING (place) ORDER BY place
    )"""


# Of minutes that are just being closed, which happens to each of them once.
RAISE: Final = f"""
WITH minute AS MATERIALIZED (
    SELECT * FROM taskqueue_rollup
    WHERE span = 1 AND at >= %(start)s::timestamptz AND at < %(until)s::timestamptz AND pipeline <> ''
), {summed("ran", by="pipeline")}, {summed("waited", by="pipeline")}
INSERT INTO taskqueue_endcount AS known (
    pipeline, succeeded, failed, cancelled, failed_attempts, {each_phase("<phase>")}, ran, waited
)
SELECT sums.*, coalesce(ran_sum.counts, '{{}}'), coalesce(waited_sum.counts, '{{}}') FROM (
    SELECT pipeline, sum(succeeded), sum(failed), sum(cancelled), sum(failed_attempts), {each_phase("sum(<phase>)")}
    FROM minute GROUP BY pipeline HAVING sum(succeeded + failed + cancelled + failed_attempts) > 0
) AS sums LEFT JOIN ran_sum USING (pipeline) LEFT JOIN waited_sum USING (pipeline)
ON CONFLICT (pipeline) DO UPDATE SET
    succeeded = known.succeeded + EXCLUDED.succeeded, failed = known.failed + EXCLUDED.failed,
    cancelled = known.cancelled + EXCLUDED.cancelled,
    failed_attempts = known.failed_attempts + EXCLUDED.failed_attempts,
    {each_phase("<phase> = known.<phase> + EXCLUDED.<phase>")}, ran = {together("ran")}, waited = {together("waited")}
"""
