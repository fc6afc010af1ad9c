"""Correct the rollups when a retry reopens a finished task, and raise the counters of the metrics."""

from __future__ import annotations

from typing import Final

from taskqueue.engine.sql.history.rollups import ENDED, OUTCOMES, each_phase, summed

# Record the end of a task that is about to be retried, in the transaction of the retry.
RECORD_REOPENED: Final = f"""
INSERT INTO taskqueue_reopened (
    finished_at, pipeline, status, ran, waited, tried, repaired, {each_phase("<phase>")}
)
SELECT task.finished_at, {ENDED} FROM taskqueue_task task
WHERE task.id = %(task)s::uuid AND task.finished_at IS NOT NULL AND task.parallel_step = ''
"""

# Find the first reopened end in minutes that are rolled up but not final: those minutes are rolled up again.
FIRST_REOPENED: Final = """
SELECT date_bin('1 minute', min(finished_at), 'epoch') FROM taskqueue_reopened
WHERE finished_at >= %(final_until)s::timestamptz AND finished_at < %(rolled_up_until)s::timestamptz
"""


def subtracted(name: str) -> str:
    """A histogram minus the reopened ends."""
    return f"""ARRAY(
        SELECT greatest(old.number - (SELECT count(*) FROM unnest(reopened.{name}) AS ended
                                        WHERE ended = old.bucket - 1), 0)::int
        FROM unnest(existing.{name}) WITH ORDINALITY AS old (number, bucket) ORDER BY old.bucket
    )"""


# Subtract reopened ends from the rollups of final minutes, which cannot be counted again, as some tasks may have been
# pruned. ROLL_MINUTES has deleted the reopened ends that it saw, and not counted them.
SUBTRACT_REOPENED: Final = f"""
WITH reopened AS (
    DELETE FROM taskqueue_reopened WHERE id IN (
        SELECT id FROM taskqueue_reopened WHERE finished_at < %(final_until)s::timestamptz
        ORDER BY finished_at LIMIT 1000
    ) RETURNING *
), change AS (
    SELECT spans.span, date_bin(spans.span * interval '1 minute', reopened.finished_at, 'epoch') AS at, names.name,
        {OUTCOMES}, array_agg(reopened.ran) FILTER (WHERE reopened.ran IS NOT NULL) AS ran,
        array_agg(reopened.waited) FILTER (WHERE reopened.waited IS NOT NULL) AS waited
    FROM reopened CROSS JOIN (VALUES (1), (15)) AS spans (span)
    CROSS JOIN LATERAL (VALUES (reopened.pipeline), ('')) AS names (name)
    GROUP BY 1, 2, 3
)
UPDATE taskqueue_rollup existing SET
    succeeded = greatest(existing.succeeded - reopened.succeeded, 0),
    recovered = greatest(existing.recovered - reopened.recovered, 0),
    repaired = greatest(existing.repaired - reopened.repaired, 0),
    failed = greatest(existing.failed - reopened.failed, 0),
    cancelled = greatest(existing.cancelled - reopened.cancelled, 0),
    ran = {subtracted("ran")}, waited = {subtracted("waited")},
    {each_phase("<phase> = greatest(existing.<phase> - reopened.<phase>, 0)")}
FROM change reopened
WHERE existing.span = reopened.span AND existing.at = reopened.at AND existing.pipeline = reopened.name
"""


def added(name: str) -> str:
    """The sum of two histograms."""
    return f"""ARRAY(
        SELECT coalesce(one.number, 0) + coalesce(other.number, 0)
        FROM unnest(existing.{name}) WITH ORDINALITY AS one (number, bucket)
        FULL JOIN unnest(EXCLUDED.{name}) WITH ORDINALITY AS other (number, bucket) USING (bucket) ORDER BY bucket
    )"""


# Add minutes to the counters when they become final, which happens once to each minute.
RAISE_END_COUNTS: Final = f"""
WITH minute AS MATERIALIZED (
    SELECT * FROM taskqueue_rollup
    WHERE span = 1 AND at >= %(start)s::timestamptz AND at < %(until)s::timestamptz AND pipeline <> ''
), {summed("ran", by="pipeline")}, {summed("waited", by="pipeline")}
INSERT INTO taskqueue_endcount AS existing (
    pipeline, succeeded, failed, cancelled, failed_attempts, {each_phase("<phase>")}, ran, waited
)
SELECT sums.*, coalesce(ran_sum.counts, '{{}}'), coalesce(waited_sum.counts, '{{}}') FROM (
    SELECT pipeline, sum(succeeded), sum(failed), sum(cancelled), sum(failed_attempts), {each_phase("sum(<phase>)")}
    FROM minute GROUP BY pipeline HAVING sum(succeeded + failed + cancelled + failed_attempts) > 0
) AS sums LEFT JOIN ran_sum USING (pipeline) LEFT JOIN waited_sum USING (pipeline)
ON CONFLICT (pipeline) DO UPDATE SET
    succeeded = existing.succeeded + EXCLUDED.succeeded, failed = existing.failed + EXCLUDED.failed,
    cancelled = existing.cancelled + EXCLUDED.cancelled,
    failed_attempts = existing.failed_attempts + EXCLUDED.failed_attempts,
    {each_phase("<phase> = existing.<phase> + EXCLUDED.<phase>")}, ran = {added("ran")}, waited = {added("waited")}
"""
