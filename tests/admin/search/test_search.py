"""The search of the task list: its syntax, its messages, its results."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from demo.pipelines import DemoRequest, demo_task
from taskqueue.admin.search.syntax import InvalidSearch, parse
from taskqueue.engine import sql
from taskqueue.engine.queries import filters
from taskqueue.engine.queries.filters import TaskFilter
from taskqueue.models import Pipeline, Task
from taskqueue.testing import InProcessWorker, work
from tests.support.admin_pages import LIST, ids_on, text_of
from tests.support.users import client_of


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
def test_a_payload_value_is_json_or_text(term, path, values):
    assert parse(term, may_see_payload=True).payload == ((path, values),)


def test_qualifiers_combine_with_a_key_prefix():
    search = parse('order:518 error:Timeout label:tenant=acme "worker: x"', may_see_payload=False)

    assert search.id_or_key_prefix == "order:518 worker: x"
    assert search.error_prefix == "Timeout"
    assert search.labels == (("tenant", "acme"),)


@pytest.mark.parametrize(
    ("term", "sentence"),
    [
        ("errors:Timeout", "There is no qualifier errors:. Did you mean error:?"),
        ("pipelin:demo", "Did you mean pipeline:?"),
        ("status:failed", "There is no qualifier status:. Choose a status in the tabs above the list."),
        ("id:a", "Type the beginning of the ID without a qualifier."),
        ("error:", "error: needs a value right after the colon."),
        ("error.a:b", "error: takes no path. Only payload has one"),
        ("payload:5", "payload needs field names joined by dots"),
        ("payload.a..b:5", "payload needs field names joined by dots"),
        ("payload.a.b.c.d.e.f.g.h.i.j.k:5", "payload takes at most 10 field names."),
        ("label:tenant", "label: needs a name and a value, as in label:tenant=acme."),
        ("pipeline:no/such", "No pipeline's name begins with “no/such”."),
        ("a\ud800", "The search has a character that no id, key or payload can have."),
    ],
)
def test_an_invalid_search_says_why(term, sentence):
    with pytest.raises(InvalidSearch) as refused:
        parse(term, may_see_payload=True)

    assert sentence in str(refused.value)


def test_an_invalid_search_shows_no_rows_and_keeps_the_input(viewer, queued):
    response = viewer.get(LIST, {"q": "errors:Time", "status": "queued"})

    assert ids_on(response) == []
    assert "Invalid search. There is no qualifier errors:. Did you mean error:?" in text_of(response)
    page = response.content.decode()
    assert 'value="errors:Time"' in page
    assert '<input type="hidden" name="status" value="queued">' in page


def test_an_error_is_found_by_a_prefix_of_its_type(viewer, failed, retrying, queued):
    assert found(viewer, "error:connection") == [str(retrying.pk)]
    assert found(viewer, "error:Permanent") == [str(failed.pk)]
    assert found(viewer, "error:ermanent") == []


def test_pipelines_and_workers_are_found_by_prefix(viewer, queued):
    Pipeline.objects.create(name="other/one")
    with InProcessWorker() as worker:
        Task.objects.filter(pk=queued.pk).update(worker=worker.row)
        assert found(viewer, "pipeline:demo/") == [str(queued.pk)]
        assert found(viewer, "pipeline:other") == []
        assert found(viewer, f"worker:{worker.row.host[:3]}") == [str(queued.pk)]
        assert found(viewer, f"worker:{worker.row.pk}") == [str(queued.pk)]
        assert found(viewer, "worker:99999999999999999999") == []


def test_searching_payloads_needs_permission(viewer):
    reader = client_of("rita", "view_task", "view_task_payload")
    task = demo_task.enqueue(request_of("needle"))
    demo_task.enqueue(request_of("hay"))

    assert found(reader, "payload.label:needle") == [str(task.pk)]
    assert found(reader, "payload.label:need") == []
    response = viewer.get(LIST, {"q": "payload.label:needle"})
    assert ids_on(response) == []
    assert "You may not see payloads, so you cannot search in them." in text_of(response)


def test_a_search_combines_with_filters(viewer, failed, retrying):
    assert found(viewer, "error:P", status="retrying") == []
    assert found(viewer, "error:P", status="failed,retrying") == [str(failed.pk)]


def test_the_search_box_has_a_placeholder(viewer, queued):
    assert 'placeholder="ID or key, or error: pipeline: step: label: payload.field:"' in (
        viewer.get(LIST).content.decode()
    )


def test_a_task_filter_survives_json():
    now = filters.database_now()
    task_filter = TaskFilter(
        statuses=("failed",),
        age=timedelta(hours=1),
        labels=(("a", "b"),),
        payload=(("a.b", (1, "1")),),
        error_prefix="T",
        ended=(now, now + timedelta(hours=1)),
    ).with_absolute_times(now)

    stored = json.loads(json.dumps(task_filter.as_json()))

    assert TaskFilter.from_json(stored) == task_filter
    assert task_filter.created_after == now - timedelta(hours=1)


def test_error_types_are_listed_by_name(failed, retrying):
    names = sql.fetch(sql.ERROR_TYPES, {"limit": 20})

    assert names == [("ConnectionError",), ("Permanent",)]
    assert sql.fetch(sql.ERROR_TYPES, {"limit": 1}) == [("ConnectionError",)]
    work()
