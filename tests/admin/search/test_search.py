"""The search of the task list: what it understands, what it says of what it does not, and what it costs."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from demo.pipelines import DemoRequest, demo_task
from taskqueue.admin.search.syntax import InvalidSearch, read
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
    with pytest.raises(InvalidSearch) as refused:
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
    selection = TaskFilter(
        statuses=("failed",),
        age=timedelta(hours=1),
        labels=(("a", "b"),),
        payload=(("a.b", (1, "1")),),
        errors="T",
        ended=(now, now + timedelta(hours=1)),
    ).frozen(now)

    kept = json.loads(json.dumps(selection.as_json()))

    assert TaskFilter.from_json(kept) == selection
    assert selection.made_from == now - timedelta(hours=1)


def test_the_types_of_errors_are_found_without_reading_all_tries(failed, retrying):
    names = sql.fetch(sql.ERROR_TYPES, {"limit": 20})

    assert names == [("ConnectionError",), ("Permanent",)]
    assert sql.fetch(sql.ERROR_TYPES, {"limit": 1}) == [("ConnectionError",)]
    work()
