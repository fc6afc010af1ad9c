"""Which statements would read more of a growing table than the rows that they name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg

from tests.support.database.plans import nodes
from tests.support.statements import Statement, statements

HOT = ("children", "claims", "deduplicate", "enqueue", "events", "flow_control", "journal", "maintenance", "suspend")
"""The folders of the statements that run for each task, event or sweep."""
COLD = {"flow_control/rate_limits/clear_reservations"}
"""Statements of an operator's action, which read all waiting tasks."""

TABLES = [f"taskqueue_{name}" for name in ("task", "step", "attempt", "event", "wait", "idempotencykey")]
"""The tables that grow with the number of tasks."""
FILL = """
SET session_replication_role = replica;
INSERT INTO taskqueue_task (id, pipeline_id, status, key, labels, priority, payload, due_at, sort_at, lease, failures,
    progress_note, created_at, slot_acquired_at, started_at, finished_at, worker_id)
SELECT gen_random_uuid(), 'a pipeline', 'succeeded', '', '{}', 0, '{}', now(), now(), 1, 0, '', now(), now(), now(),
    now(), 1
FROM generate_series(1, 20000);
INSERT INTO taskqueue_step (task_id, key, name, kind, status, failures, input_hash, started_at, finished_at)
SELECT id, 'a step', 'a step', 'step', 'succeeded', 0, '', now(), now() FROM taskqueue_task;
INSERT INTO taskqueue_attempt (task_id, step_key, number, outcome, error_type, error_message, traceback, lease,
    started_at, finished_at)
SELECT id, 'a step', 1, 'failed', 'ValueError', '', '', 1, now(), now() FROM taskqueue_task;
INSERT INTO taskqueue_event (id, name, data, external_id, unique_id, routed_at)
SELECT gen_random_uuid(), 'an event', '{}', '', '', now() FROM taskqueue_task;
INSERT INTO taskqueue_wait (task_id, step_key, position, event, match, fields, digest, outcome)
SELECT id, 'a step', 0, 'an event', '{}', '', '', '' FROM taskqueue_task;
INSERT INTO taskqueue_idempotencykey (pipeline_id, key, task_id, expires_at)
SELECT 'a pipeline', id::text, id, now() FROM taskqueue_task;
"""
"""Rows that are never analyzed, as after a restore. Foreign keys are not checked, which would take longer."""

LITERALS = {
    "bigint": "1",
    "bool": "true",
    "boolean": "true",
    "float": "0.5",
    "int": "1",
    "interval": "'1 minute'",
    "json": "'[]'",
    "jsonb": "'{}'",
    "smallint": "1",
    "text": "'a text'",
    "timestamptz": "now()",
    "unknown": "NULL",
}

WORK_LISTS = {
    "taskqueue_event_unrouted",
    "taskqueue_task_at_step",
    "taskqueue_task_completion",
    "taskqueue_task_deadline",
    "taskqueue_task_held",
    "taskqueue_task_timer",
}
"""Indexes of unfinished work only, which the sweeps read from the start."""

WIDE_LISTS = {"taskqueue_task_by_status", "taskqueue_task_by_pipeline"}
"""Indexes whose first column all tasks may share: the condition has to name the id too."""


def unconditional_scans(session: psycopg.Connection[Any]) -> dict[str, set[str]]:
    """The scans of growing tables without a condition on their index, by statement, for both kinds of plans.

    Args:
        session: one in autocommit, of a database that `FILL` has filled.
    """
    first_columns = dict(
        session.execute(
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid, 1, true) FROM pg_index "
            "WHERE indrelid = ANY (%s::text[]::regclass[])",
            [TABLES],
        ).fetchall()
    )
    task: UUID = session.execute("SELECT id FROM taskqueue_task LIMIT 1").fetchall()[0][0]
    found: dict[str, set[str]] = {}
    for mode in ("force_generic_plan", "force_custom_plan"):
        session.execute(f"SET plan_cache_mode = {mode}".encode())
        for statement in statements():
            if statement.name.startswith(HOT) and statement.name not in COLD:
                for node in planned(session, statement, task):
                    if scan := unconditional(node, first_columns):
                        found.setdefault(statement.name, set()).add(scan)
    return found


def planned(session: psycopg.Connection[Any], statement: Statement, task: UUID) -> Iterator[dict[str, Any]]:
    """The nodes of a statement's plan."""
    types = ", ".join(statement.parameters.values())
    values = ", ".join(literal(name, kind, task) for name, kind in statement.parameters.items())
    session.execute(f"PREPARE hot{types and f' ({types})'} AS {statement.numbered()}".encode())
    explained = session.execute(f"EXPLAIN (FORMAT JSON) EXECUTE hot{values and f' ({values})'}".encode())
    plan = explained.fetchall()[0][0]
    session.execute("DEALLOCATE hot")
    return nodes(plan[0]["Plan"])


def literal(name: str, kind: str, task: UUID) -> str:
    """A value for a parameter."""
    if kind.endswith("[]"):
        return f"ARRAY[{literal(name, kind[:-2], task)}]::{kind}"
    return f"'{task}'" if kind == "uuid" or name == "id" else LITERALS[kind]


def unconditional(node: dict[str, Any], first_columns: dict[str, str]) -> str | None:
    """What a scan reads without a condition, if anything."""
    if node["Node Type"] == "Seq Scan" and node["Relation Name"] in TABLES:
        return str(node["Relation Name"])
    index, condition = node.get("Index Name"), node.get("Index Cond", "")
    if index not in first_columns or index in WORK_LISTS:
        return None
    named = [first_columns[index], *(["id"] if index in WIDE_LISTS else [])]
    return None if all(name in condition for name in named) else f"{index} ({condition or 'no condition'})"
