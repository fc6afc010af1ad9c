"""The search of the task list: what it understands, what it says of what it does not, and what it costs."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection

from demo.pipelines import DemoRequest, demo_task
from taskqueue.admin.search.syntax import Unfit, read
from taskqueue.engine import sql
from taskqueue.engine.queries import filters
from taskqueue.engine.queries.filters import Selection
from taskqueue.models import Pipeline, Task
from taskqueue.states import TaskStatus
from taskqueue.testing import InProcessWorker, work
from tests.admin.conftest import client_of
from tests.admin.pages import LIST, ids_on, text_of


def found(client, term: str, **more: str) -> list[str]:
    return ids_on(client.get(LIST, {"q": term, **more}))


def request_of(label: str, **more: Any) -> DemoRequest:
    return DemoRequest(label=label, delay_seconds=0, **more)


@pytest.mark.parametrize(
    ("term", "path", "values"),
    [
        ("payload.a:5", "a", (5, "5")),
        ("payload.a.b:x", "a.b", ("x",)),
        ("payload.a:true", "a", (True, "true")),
        ("payload.a:null", "a", (None, "null")),
        ('payload.a:"5"', "a", ("5",)),
        ('payload.a:"two words"', "a", ("two words",)),
        ("payload.a:1.5", "a", (1.5, "1.5")),
        ("payload.a:1e999", "a", ("1e999",)),
        ("payload.a:NaN", "a", ("NaN",)),
        ("payload.a:[1]", "a", ("[1]",)),
        ("payload.a:b:c", "a", ("b:c",)),
    ],
)
def test_a_value_in_a_payload_may_be_json_or_text(term, path, values):
    assert read(term, may_see_payload=True).payload == [(path, values)]


def test_qualifiers_stand_beside_the_beginning_of_a_key():
    search = read('order:518 error:Timeout label:tenant=acme "worker: x"', may_see_payload=False)

    assert search.begins == "order:518 worker: x"
    assert search.error == "Timeout"
    assert search.labels == [("tenant", "acme")]


@pytest.mark.parametrize(
    ("term", "sentence"),
    [
        ("errors:Timeout", "There is no qualifier errors:. Did you mean error:?"),
        ("pipelin:demo", "Did you mean pipeline:?"),
        ("status:failed", "There is no qualifier status:. Choose a status in the tabs above the list."),
        ("id:a", "Type the beginning of the ID itself, without a qualifier."),
        ("error:", "error: needs a value right after the colon."),
        ("error.a:b", "error: takes no path. Only payload has one"),
        ("payload:5", "payload needs the names of its fields"),
        ("payload.a..b:5", "payload needs the names of its fields"),
        ("payload.a.b.c.d.e.f.g.h.i.j.k:5", "payload takes at most 10 names."),
        ("label:tenant", "label: needs a name and a value, as in label:tenant=acme."),
        ("pipeline:no/such", "No pipeline's name begins with “no/such”."),
        ("a\ud800", "It holds a character that no id, key or payload can hold."),
    ],
)
def test_what_is_wrong_is_told_precisely(term, sentence):
    with pytest.raises(Unfit) as refused:
        read(term, may_see_payload=True)

    assert sentence in str(refused.value)


def test_a_wrong_search_shows_no_rows_and_loses_nothing(viewer, queued):
    response = viewer.get(LIST, {"q": "errors:Time", "status": "queued"})

    assert ids_on(response) == []
    assert "Nothing was searched. There is no qualifier errors:. Did you mean error:?" in text_of(response)
    page = response.content.decode()
    assert 'value="errors:Time"' in page
    assert '<input type="hidden" name="status" value="queued">' in page


def test_an_error_is_found_by_the_beginning_of_its_type(viewer, failed, retrying, queued):
    assert found(viewer, "error:connection") == [str(retrying.pk)]
    assert found(viewer, "error:Permanent") == [str(failed.pk)]
    assert found(viewer, "error:ermanent") == []


def test_a_pipeline_and_a_worker_are_found_by_their_beginning(viewer, queued):
    Pipeline.objects.create(name="other/one")
    with InProcessWorker() as worker:
        Task.objects.filter(pk=queued.pk).update(worker=worker.row)
        assert found(viewer, "pipeline:demo/") == [str(queued.pk)]
        assert found(viewer, "pipeline:other") == []
        assert found(viewer, f"worker:{worker.row.host[:3]}") == [str(queued.pk)]
        assert found(viewer, f"worker:{worker.row.pk}") == [str(queued.pk)]
        assert found(viewer, "worker:99999999999999999999") == []


def test_a_payload_is_searched_by_those_who_may_see_it(viewer):
    reader = client_of("rita", "view_task", "view_task_payload")
    task = demo_task.enqueue(request_of("needle"))
    demo_task.enqueue(request_of("hay"))

    assert found(reader, "payload.label:needle") == [str(task.pk)]
    assert found(reader, "payload.label:need") == []
    response = viewer.get(LIST, {"q": "payload.label:needle"})
    assert ids_on(response) == []
    assert "You may not see payloads, so you cannot search in them." in text_of(response)


def test_a_search_stays_within_the_filters(viewer, failed, retrying):
    assert found(viewer, "error:P", status="retrying") == []
    assert found(viewer, "error:P", status="failed,retrying") == [str(failed.pk)]


def test_the_rule_stands_in_the_box(viewer, queued):
    assert 'placeholder="ID or key, or error: pipeline: step: label: payload.field:"' in (
        viewer.get(LIST).content.decode()
    )


def test_a_selection_is_the_same_after_it_was_kept():
    now = filters.database_now()
    selection = Selection(
        statuses=("failed",),
        age=timedelta(hours=1),
        labels=(("a", "b"),),
        payload=(("a.b", (1, "1")),),
        errors="T",
        ended=(now, now + timedelta(hours=1)),
    ).frozen(now)

    kept = json.loads(json.dumps(selection.as_json()))

    assert Selection.from_json(kept) == selection
    assert selection.made_from == now - timedelta(hours=1)


HISTORY = """
INSERT INTO taskqueue_task (id, pipeline_id, status, key, labels, priority, payload, due_at, sort_at, lease, failures,
    progress_note, created_at, started_at, finished_at, error)
SELECT (lpad(to_hex(1700000000000 + number), 12, '0') || '70008000' || lpad(to_hex(number), 12, '0'))::uuid, pipeline,
    CASE WHEN number <= 300 THEN 'failed' ELSE 'succeeded' END, 'order-' || number, '{}', 0, '{}',
    now(), now(), 1, 0, '', now(), now(), now(), CASE WHEN number <= 300 THEN '{"type": "Old"}'::jsonb END
FROM generate_series(1, 40000) AS number,
    LATERAL (SELECT CASE WHEN number <= 200 THEN 'rare/one' ELSE 'demo/task' END AS pipeline) AS named
"""


@pytest.fixture
def history(queued):
    """Many succeeded tasks, and before all of them those that failed and those of a rare pipeline."""
    Pipeline.objects.create(name="rare/one")
    with connection.cursor() as cursor:
        cursor.execute(HISTORY)
        cursor.execute("ANALYZE taskqueue_task")


def nodes(tree):
    yield tree
    for child in tree.get("Plans", []):
        yield from nodes(child)


def read_of(queryset) -> tuple[set[str], float]:
    """The indexes of the tasks that a query used, and how many of their rows it looked at."""
    (plan,) = json.loads(queryset.explain(format="json", analyze=True))
    return looked_at(plan)


def is_of_tasks(node) -> bool:
    return node.get("Relation Name") == "taskqueue_task" or node.get("Index Name", "").startswith("taskqueue_task_")


def looked_at(plan) -> tuple[set[str], float]:
    tree = list(nodes(plan["Plan"]))
    scans = [node for node in tree if is_of_tasks(node)]
    assert not [node for node in scans if node["Node Type"] == "Seq Scan"]
    rows = [(node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in scans]
    return {node["Index Name"] for node in scans if "Index Name" in node}, sum(rows)


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(
    ("selection", "index", "most"),
    [
        (Selection(), "taskqueue_task_pkey", 50),
        (Selection(statuses=("failed",)), "taskqueue_task_by_status", 50),
        (Selection(statuses=("failed", "cancelled")), "taskqueue_task_by_status", 100),
        (Selection(statuses=("waiting",)), "taskqueue_task_by_status", 0),
        (Selection(pipeline="rare/one"), "taskqueue_task_by_pipeline", 50),
        # both indexes, each read to its end with whatever was deleted since, and the rows that they have in common
        (Selection(pipeline="rare/one", statuses=("failed",)), "taskqueue_task_by_status", 10_000),
        (Selection(pipeline="rare/one", statuses=("succeeded",)), "taskqueue_task_by_pipeline", 200),
        (Selection(begins="order-3999"), "taskqueue_task_by_key", 30),
        (Selection(errors="Old", statuses=("failed",)), "taskqueue_task_by_status", 300),
    ],
)
def test_a_page_of_ids_is_read_from_its_index_and_no_further(selection, index, most):
    used, rows = read_of(filters.ids_of(selection, floor=filters.floor_of(selection), limit=50))

    assert index in used
    assert rows <= most


@pytest.mark.usefixtures("history")
def test_a_batch_goes_on_where_the_last_one_ended_without_reading_what_was_before():
    ids = list(filters.ids_of(Selection(statuses=("failed",)), limit=300))
    oldest_first = ids[::-1]

    bounds, now = (oldest_first[199], oldest_first[-1]), filters.database_now()
    used, rows = read_of(filters.between(Selection(statuses=("failed",)), *bounds, made_by=now, limit=50))

    assert used <= {"taskqueue_task_by_status", "taskqueue_task_pkey"}
    assert rows <= 100


@pytest.mark.usefixtures("history")
def test_a_search_that_no_index_answers_looks_at_the_newest_only(monkeypatch):
    monkeypatch.setattr(filters, "SEARCHED", 100)
    selection = Selection(labels=(("tenant", "nobody"),))

    used, rows = read_of(filters.ids_of(selection, floor=filters.floor_of(selection), limit=50))

    assert used == {"taskqueue_task_pkey"}
    assert rows <= 100


@pytest.mark.usefixtures("history")
def test_the_numbers_of_the_tabs_are_counted_by_index_and_up_to_the_limit():
    values = {"statuses": [status.value for status in TaskStatus], "limit": 100}
    connection.ensure_connection()
    with psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql.STATUS_COUNTS}", values)
        ((plan,),) = cursor.fetchall()

    used, rows = looked_at((json.loads(plan) if isinstance(plan, str) else plan)[0])

    assert used == {"taskqueue_task_by_status"}
    assert rows <= 201


def test_the_types_of_errors_are_found_without_reading_all_tries(failed, retrying):
    names = sql.fetch(sql.ERROR_TYPES, {"limit": 20})

    assert names == [("ConnectionError",), ("Permanent",)]
    assert sql.fetch(sql.ERROR_TYPES, {"limit": 1}) == [("ConnectionError",)]
    work()
