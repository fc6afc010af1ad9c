"""A search that finds nothing suggests other searches."""

from __future__ import annotations

from html import unescape
from re import findall

import pytest
from django.contrib.auth.models import User

from demo.pipelines import DemoRequest, demo_task
from taskqueue.models import Pipeline, PipelinePermission, Task
from tests.support.admin_pages import LIST, ids_on, text_of
from tests.support.users import client_of


@pytest.fixture
def reader():
    """A user with permission to view payloads."""
    return client_of("rita", "view_task", "view_task_payload")


@pytest.fixture
def order(queued):
    """A task with a key, a label and a payload."""
    task = demo_task.using(key="order-42", labels={"tenant": "acme"}).enqueue(DemoRequest(label="needle"))
    Task.objects.filter(pk=task.pk).update(payload={"label": "needle", "order": {"id": 42}, "note": "a 42"})
    return task


def offers_of(client, term: str) -> dict[str, str]:
    response = client.get(LIST, {"q": term})
    assert ids_on(response) == []
    _before, _found, after = response.content.decode().partition('class="tq-suggestions"')
    return {unescape(label): unescape(query) for query, label in findall(r'<li><a href="([^"]+)">([^<]+)</a>', after)}


@pytest.mark.parametrize(
    ("term", "labels"),
    [
        ("42", ["Key contains 42", "Payload order.id = 42"]),
        ("ORDER-42", ["Key contains ORDER-42"]),
        ("order 42", ["Key contains order 42"]),
        ("acme", ["Label tenant = acme"]),
        ("tenant", ["Label tenant = acme"]),
        ("needle", ["Payload label = needle"]),
        ("emo/ta", ["Pipeline demo/task"]),
        ("nothing-like-it", []),
    ],
)
def test_each_suggestion_finds_the_task(reader, order, term, labels):
    offers = offers_of(reader, term)

    assert list(offers) == labels
    for query in offers.values():
        assert str(order.pk) in ids_on(reader.get(LIST + query))


@pytest.mark.parametrize(
    ("term", "label"),
    [("ermanen", "Error type Permanent"), ("api-call", "Failed or unfinished in step simulate-api-call")],
)
def test_errors_and_steps_are_suggested(reader, failed, queued, term, label):
    offers = offers_of(reader, term)

    assert ids_on(reader.get(LIST + offers[label])) == [str(failed.pk)]


def test_payload_suggestions_need_permission(viewer, reader, order):
    assert offers_of(viewer, "needle") == {}

    PipelinePermission.objects.create(pipeline_id="demo/task", user=User.objects.create_user("kim"), view_payload=True)
    assert offers_of(reader, "needle") == {}


def test_an_unknown_qualifier_is_named_with_the_available_ones(viewer, queued):
    text = text_of(viewer.get(LIST, {"q": "xyzzy:1"}))

    assert "Unknown qualifier xyzzy: (available: error:, pipeline:, step:, key:, worker:, label:, payload:)." in text


def test_an_empty_list_offers_no_bulk_actions(queued):
    operator = client_of("olga", "view_task", "cancel_task")

    assert "Cancel all that match" in text_of(operator.get(LIST, {"pipeline": "demo/task"}))
    assert "all that match" not in text_of(operator.get(LIST, {"q": "nothing-like-it"}))


def test_the_box_offers_qualifiers_errors_and_pipelines(viewer, failed):
    page = viewer.get(LIST).content.decode()

    for offer in ("step:", "error:Permanent", "pipeline:demo/task"):
        assert f'<option value="{offer}">' in page


def test_hostile_input_is_escaped(reader, order):
    Pipeline.objects.create(name="a/<b>")
    Task.objects.filter(pk=order.pk).update(labels={"<i>": "<script>"}, payload={"<u>": "<script>"})

    page = reader.get(LIST, {"q": "<script>"}).content.decode()

    assert "Label &lt;i&gt; = &lt;script&gt;" in page
    assert "<script>”" not in page


def test_large_payloads_are_skipped(reader, order):
    Task.objects.filter(pk=order.pk).update(payload={"id": "needle", "more": [str(number) for number in range(20_000)]})

    assert offers_of(reader, "needle") == {}
