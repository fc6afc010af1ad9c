"""Tables full of ended and of waiting tasks, written by SQL."""

from __future__ import annotations

from django.db import connection

COLUMNS = (
    'id, pipeline_id, status, key, labels, priority, payload, lease, failures, progress_note, due_at, sort_at, "group"'
)

ENDED = """
INSERT INTO taskqueue_task (<columns>, created_at, admitted_at, started_at, finished_at, worker_id)
SELECT gen_random_uuid(), %(pipeline)s, 'succeeded', '', '{}', 0, '{}', 1, 0, '', now(), now(), '',
    now(), now(), now(), now(), %(worker)s
FROM generate_series(1, %(number)s)
"""
# An hour old, spread over so many keys, or without one.
QUEUED = """
INSERT INTO taskqueue_task (<columns>, created_at)
SELECT gen_random_uuid(), %(pipeline)s, 'queued', '', '{}', 0, %(payload)s, 0, 0, '', past.hour, past.hour,
    CASE WHEN %(keys)s = 0 THEN '' ELSE 'key ' || lpad((number %% %(keys)s)::text, 5, '0') END, past.hour
FROM generate_series(1, %(number)s) AS number, (SELECT now() - interval '1 hour' AS hour) AS past
"""
RUNNING = """
INSERT INTO taskqueue_task (<columns>, created_at, admitted_at, started_at, worker_id)
SELECT gen_random_uuid(), %(pipeline)s, 'running', '', '{}', 0, '{}', 1, 0, '', now(), now(),
    CASE WHEN %(keys)s = 0 THEN '' ELSE 'key ' || lpad((number %% %(keys)s)::text, 5, '0') END,
    now(), now(), now(), %(worker)s
FROM generate_series(1, %(number)s) AS number
"""


def insert(statement: str, pipeline: str, number: int, *, keys: int = 0, worker: int = 0, payload: str = "{}") -> None:
    """Insert so many tasks of a pipeline."""
    values: dict[str, str | int] = {
        "pipeline": pipeline,
        "number": number,
        "keys": keys,
        "worker": worker,
        "payload": payload,
    }
    with connection.cursor() as cursor:
        cursor.execute(statement.replace("<columns>", COLUMNS), values)
