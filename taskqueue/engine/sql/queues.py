"""The queue of a pipeline, and which workers take a queue."""

from __future__ import annotations

from typing import Final

# A pipeline's queue: one that a user has set replaces the code's.
PIPELINE_QUEUE: Final = "coalesce(nullif(pipeline.queue, ''), pipeline.declared_queue)"


def takes_queue(queue: str) -> str:
    """Whether a worker takes a queue: its row names the queue or none, and does not exclude it."""
    return f"""((worker.queues = '[]' OR worker.queues @> to_jsonb({queue}))
        AND NOT worker.not_queues @> to_jsonb({queue}))"""


# List the queues of all pipelines, with how many live workers take each and can claim.
QUEUE_WORKERS: Final = f"""
WITH worker AS MATERIALIZED (
    SELECT queues, not_queues FROM taskqueue_worker
    WHERE ended_at IS NULL AND heartbeat_at > statement_timestamp() - %(heartbeat_timeout)s::interval
        AND draining_at IS NULL AND claim_error = ''
)
SELECT queue.name, (SELECT count(*) FROM worker WHERE {takes_queue("queue.name")})
FROM (SELECT DISTINCT {PIPELINE_QUEUE} AS name FROM taskqueue_pipeline pipeline) AS queue
ORDER BY queue.name
"""
