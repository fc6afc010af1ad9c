"""Fill tables with finished, queued and running tasks by SQL."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

STATISTICS = [
    pytest.param(True, id="with statistics"),
    pytest.param(False, id="without statistics", marks=pytest.mark.slow),
]
"""Whether a table is analyzed after it is filled: a new database has no statistics."""

COLUMNS = (
    "id, pipeline_id, status, key, labels, priority, payload, lease, failures, progress_note, due_at, sort_at, "
    "concurrency_key"
)

ENDED = """
INSERT INTO taskqueue_task (<columns>, created_at, slot_acquired_at, started_at, finished_at, worker_id)
SELECT gen_random_uuid(), %(pipeline)s, 'succeeded', '', '{}', 0, '{}', 1, 0, '', now(), now(), '',
    now(), now(), now(), now(), %(worker)s
FROM generate_series(1, %(number)s)
"""
# An hour old, spread over the keys, or without keys.
QUEUED = """
INSERT INTO taskqueue_task (<columns>, created_at)
SELECT gen_random_uuid(), %(pipeline)s, 'queued', '', '{}', 0, %(payload)s, 0, 0, '', past.hour, past.hour,
    CASE WHEN %(keys)s = 0 THEN '' ELSE 'key ' || lpad((number %% %(keys)s)::text, 5, '0') END, past.hour
FROM generate_series(1, %(number)s) AS number, (SELECT now() - interval '1 hour' AS hour) AS past
"""
RUNNING = """
INSERT INTO taskqueue_task (<columns>, created_at, slot_acquired_at, started_at, worker_id)
SELECT gen_random_uuid(), %(pipeline)s, 'running', '', '{}', 0, '{}', 1, 0, '', now(), now(),
    CASE WHEN %(keys)s = 0 THEN '' ELSE 'key ' || lpad((number %% %(keys)s)::text, 5, '0') END,
    now(), now(), now(), %(worker)s
FROM generate_series(1, %(number)s) AS number
"""


@contextmanager
def unchecked() -> Iterator[CursorWrapper]:
    """A cursor that does not check foreign keys, which takes longer than inserting the rows.

    The trigger that computes columns of tasks is one of the triggers that this switches off, but for what is said here.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED"
        )  # what is due now, so that ALTER may
        cursor.execute("ALTER TABLE taskqueue_task ENABLE ALWAYS TRIGGER taskqueue_task_row")
        cursor.execute("SET LOCAL session_replication_role = replica")
        yield cursor
        cursor.execute("SET LOCAL session_replication_role = origin")
        cursor.execute("ALTER TABLE taskqueue_task ENABLE TRIGGER taskqueue_task_row")


def insert(statement: str, pipeline: str, number: int, *, keys: int = 0, worker: int = 0, payload: str = "{}") -> None:
    values: dict[str, str | int] = {
        "pipeline": pipeline,
        "number": number,
        "keys": keys,
        "worker": worker,
        "payload": payload,
    }
    with unchecked() as cursor:
        cursor.execute(statement.replace("<columns>", COLUMNS), values)


@contextmanager
def rolled_back() -> Iterator[None]:
    """Undo what a block writes: for the parameters of a module's fixture, which share `module_transaction`."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def forget_statistics() -> None:
    """Delete the statistics of all tables in this transaction, also those that other tests left."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT pg_clear_relation_stats('public', relname) FROM pg_class
            WHERE relname LIKE 'taskqueue%%' AND relkind IN ('r', 'i')
            """
        )
        cursor.execute(
            "SELECT pg_clear_attribute_stats(schemaname, tablename, attname, inherited) FROM pg_stats"
            " WHERE tablename LIKE 'taskqueue%%'"
        )


def explain_generic_plan(statement: str, parameters: Mapping[str, Any]) -> Any:
    """The generic plan of a statement, as PostgreSQL uses it after several executions."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    for number, name in enumerate(names, 1):
        statement = statement.replace(f"%({name})s", f"${number}")
    marks = ", ".join(["%s"] * len(names))
    with connection.cursor() as cursor:
        cursor.execute("SET plan_cache_mode = force_generic_plan")
        cursor.execute("PREPARE explained AS " + statement.replace("%%", "%"))
        cursor.execute(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE explained ({marks})", [parameters[name] for name in names]
        )
        found = cursor.fetchone()[0]
        cursor.execute("DEALLOCATE explained")
        cursor.execute("RESET plan_cache_mode")
    return (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
