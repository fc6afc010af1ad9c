"""Filters of GET /api/tasks that have no index of their own, and their pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from taskqueue.engine.queries import filters
from taskqueue.models import Task
from taskqueue.testing import work
from tests.support.api import enqueue_order, fail_order, finish_order, problem_of
from tests.support.database.plans import explain
from tests.support.pipelines.orders import anything

AT_NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def ids(response) -> list[str]:
    assert response.status_code == 200, response.content
    return [task["id"] for task in response.json()["tasks"]]


@pytest.fixture
def succeeded(db) -> Task:
    return finish_order()


@pytest.fixture
def failed(db, succeeded) -> Task:
    return fail_order()


@pytest.mark.parametrize(
    ("query", "finds"),
    [
        ({"error": "Permanent"}, True),
        ({"error": "permanent"}, False),
        ({"error": "Perm"}, False),
        ({"error_text": "SHIP is bro"}, True),
        ({"error_text": "charge"}, False),
        ({"error": "Permanent", "status": "succeeded"}, False),
    ],
)
def test_tasks_are_filtered_by_error(api, failed, query, finds):
    assert ids(api.get("/api/tasks", **query)) == ([str(failed.pk)] if finds else [])


def test_an_error_of_an_attempt_counts_too(api, failed):
    api.post(f"/api/tasks/{failed.pk}/retry")
    work()
    assert Task.objects.get(pk=failed.pk).status == "succeeded"

    assert ids(api.get("/api/tasks", error="Permanent")) == [str(failed.pk)]
    assert ids(api.get("/api/tasks", error_text="ship is broken")) == [str(failed.pk)]


def test_tasks_are_filtered_by_their_end(api, succeeded, failed):
    running = enqueue_order("later")
    Task.objects.filter(pk=succeeded.pk).update(created_at=AT_NOON, started_at=AT_NOON, finished_at=AT_NOON)
    end = str(Task.objects.get(pk=failed.pk).finished_at)

    noon = "2026-05-04T12:00:00Z"
    assert ids(api.get("/api/tasks", ended_after=noon)) == [str(failed.pk)]
    assert ids(api.get("/api/tasks", ended_after="2026-05-04T11:59:59Z", ended_before="2035-01-01T00:00:00Z")) == [
        str(failed.pk), str(succeeded.pk),
    ]  # fmt: skip
    assert ids(api.get("/api/tasks", ended_before=end)) == [str(succeeded.pk)]
    assert running.finished_at is None


def test_tasks_are_filtered_by_pipeline_prefix_and_subject(api, succeeded):
    other = anything.enqueue(1)
    Task.objects.filter(pk=other.pk).update(subject="shop.order:7")

    assert ids(api.get("/api/tasks", pipeline_prefix="shop/")) == [str(succeeded.pk)]
    assert ids(api.get("/api/tasks", pipeline_prefix="nothing")) == []
    assert ids(api.get("/api/tasks", subject="shop.order:7")) == [str(other.pk)]
    assert ids(api.get("/api/tasks", subject="shop.order:70")) == []


def test_tasks_are_filtered_by_duration(api, succeeded):
    enqueue_order("not started")
    Task.objects.filter(pk=succeeded.pk).update(finished_at=F("started_at") + timedelta(seconds=90))

    assert ids(api.get("/api/tasks", took_at_least=90)) == [str(succeeded.pk)]
    assert ids(api.get("/api/tasks", took_at_least=90.5)) == []
    assert ids(api.get("/api/tasks", took_less_than=90)) == []
    assert ids(api.get("/api/tasks", took_at_least=0, took_less_than=91)) == [str(succeeded.pk)]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("error=", "/error"),
        ("error_text=%00", "/error_text"),
        ("took_at_least=-1", "/took_at_least"),
        ("took_less_than=0", "/took_less_than"),
        ("took_at_least=nan", "/took_at_least"),
        ("ended_after=noon", "/ended_after"),
        ("subject=", "/subject"),
    ],
)
def test_an_invalid_filter_has_a_pointer(api, query, pointer):
    assert problem_of(api.get(f"/api/tasks?{query}")) == (400, "invalid-query", [pointer])


def test_a_page_of_a_search_reads_a_bounded_number_of_tasks(api, monkeypatch):
    monkeypatch.setattr(filters, "SCAN_LIMIT", 3)
    tasks = [anything.enqueue(number) if number in (1, 7) else enqueue_order("A") for number in range(9)]

    pages, query = [], {"pipeline_prefix": "anything"}
    while True:
        page = api.get("/api/tasks", **query).json()
        pages.append([task["id"] for task in page["tasks"]])
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]

    assert pages[:3] == [[str(tasks[7].pk)], [], [str(tasks[1].pk)]]
    back = api.get("/api/tasks", pipeline_prefix="anything", cursor=f"n{tasks[1].pk.hex}").json()
    assert back["tasks"] == []
    older = api.get("/api/tasks", pipeline_prefix="anything", cursor=back["previous_cursor"]).json()
    assert [task["id"] for task in older["tasks"]] == [str(tasks[7].pk)]


@pytest.fixture
def many(db: None) -> None:
    """20,000 tasks, one in a thousand about an object."""
    anything.enqueue(0)
    columns = ", ".join(
        str(field.column) for field in Task._meta.concrete_fields if field.name not in ("id", "subject", "key")
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO taskqueue_task (id, subject, key, {columns}) SELECT gen_random_uuid(), "  # noqa: S608
            f"CASE WHEN mod(n, 1000) = 0 THEN 'shop.order:7' ELSE '' END, '', {columns} "
            "FROM taskqueue_task CROSS JOIN generate_series(1, 20000) AS n",
        )
        cursor.execute("ANALYZE taskqueue_task")


def rows_read(statement: str) -> int:
    """The rows that the scans of a statement return or filter out, all their loops together."""
    return sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in explain(statement.replace("%", "%%"), ())
        if node.get("Relation Name") == "taskqueue_task"
    )


@pytest.mark.parametrize(
    ("query", "most"),
    [
        ({"subject": "shop.order:7"}, 50),
        ({"key": "none"}, 0),
        ({"error": "KeyError"}, 510),
        ({"error_text": "refused"}, 510),
        ({"pipeline_prefix": "shop/"}, 510),
        ({"took_at_least": 5}, 510),
        ({"ended_after": "2026-01-01T00:00:00Z"}, 510),
        ({"ended_before": "2035-01-01T00:00:00Z", "status": "failed,queued"}, 510),
    ],
)
def test_a_page_of_a_big_table_reads_few_of_its_rows(api, many, monkeypatch, query, most):
    monkeypatch.setattr(filters, "SCAN_LIMIT", 500)

    with CaptureQueriesContext(connection) as captured:
        assert len(ids(api.get("/api/tasks", **query, limit=20))) in {0, 20}

    statements = [each["sql"] for each in captured if "taskqueue_task" in each["sql"]]
    assert statements
    assert {statement: rows for statement in statements if (rows := rows_read(statement)) > most} == {}
