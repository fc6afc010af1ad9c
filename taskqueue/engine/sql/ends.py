"""Ends that a retry takes back, and counts of ends that only rise.

`REOPEN` records that an end is taken back, `FIRST_REOPENED` and `TAKE_BACK` correct the rollups, `RAISE` adds a closed
minute to the counters of the metrics.
"""

from __future__ import annotations

from typing import Final

from taskqueue.engine.sql.rollups import ENDED, OUTCOMES, each_phase, summed

# Record the end of a task that is about to be retried, in the transaction of the retry.
REOPEN: Final = f"""
INSERT INTO taskqueue_reopened (
    finished_at, pipeline, status, ran, waited, tried, repaired, {each_phase("<phase>")}
)
SELECT task.finished_at, {ENDED} FROM taskqueue_task task
WHERE task.id = %(task)s::uuid AND task.finished_at IS NOT NULL AND task.parallel_step = ''
"""

# Find the first such end in minutes that are rolled up but not closed: those are rolled up again.
FIRST_REOPENED: Final = """
SELECT date_bin('1 minute', min(finished_at), 'epoch') FROM taskqueue_reopened
WHERE finished_at >= %(closed)s::timestamptz AND finished_at < %(rolled)s::timestamptz
"""


def without(name: str) -> str:
    """A histogram without the ends that are taken back."""
    return f"""ARRAY(
        SELECT greatest(place.number - (SELECT count(*) FROM unnest(gone.{name}) AS bucket
                                        WHERE bucket = place.place - 1), 0)::int
        FROM unnest(known.{name}) WITH ORDINALITY AS place (number, place) ORDER BY place.place
    )"""


# Subtract such ends from the rollups of closed minutes, which cannot be counted again, as some tasks may have been
# pruned. What the closing statement saw taken back it has deleted, and not counted.
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


def together(name: str) -> str:
    """Two histograms as one."""
    return f"""ARRAY(
        SELECT coalesce(one.number, 0) + coalesce(other.number, 0)
        FROM unnest(known.{name}) WITH ORDINALITY AS one (number, place)
        FULL JOIN unnest(EXCLUDED.{name}) WITH ORDINALITY AS other (number, place) USING (place) ORDER BY place
    )"""


# Add the minutes that are being closed to the counters, which happens once to each minute.
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
