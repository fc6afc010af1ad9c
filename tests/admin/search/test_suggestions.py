"""A search that finds nothing offers searches that find something."""

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
    """Somebody who may see payloads."""
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
def test_a_word_is_offered_where_it_stands_and_each_offer_finds_the_task(reader, order, term, labels):
    offers = offers_of(reader, term)

    assert list(offers) == labels
    for query in offers.values():
        assert str(order.pk) in ids_on(reader.get(LIST + query))


@pytest.mark.parametrize(
    ("term", "label"),
    [("ermanen", "Error type Permanent"), ("api-call", "Failed or under way in step simulate-api-call")],
)
def test_an_error_and_a_step_are_offered(reader, failed, queued, term, label):
    offers = offers_of(reader, term)

    assert ids_on(reader.get(LIST + offers[label])) == [str(failed.pk)]


def test_payloads_are_offered_to_those_alone_who_may_see_them(viewer, reader, order):
    assert offers_of(viewer, "needle") == {}

    PipelinePermission.objects.create(pipeline_id="demo/task", user=User.objects.create_user("kim"), view_payload=True)
    assert offers_of(reader, "needle") == {}


def test_a_filter_that_does_not_exist_is_named_with_those_that_do(viewer, queued):
    text = text_of(viewer.get(LIST, {"q": "xyzzy:1"}))

    assert (
        "no filter xyzzy: (known: error:, pipeline:, step:, key:, worker:, label:, payload:), so it was taken" in text
    )


def test_nothing_is_offered_to_do_to_an_empty_list(queued):
    operator = client_of("olga", "view_task", "cancel_task")

    assert "Cancel all that match" in text_of(operator.get(LIST, {"pipeline": "demo/task"}))
    assert "all that match" not in text_of(operator.get(LIST, {"q": "nothing-like-it"}))


def test_the_box_offers_qualifiers_errors_and_pipelines(viewer, failed):
    page = viewer.get(LIST).content.decode()

    for offer in ("step:", "error:Permanent", "pipeline:demo/task"):
        assert f'<option value="{offer}">' in page


def test_what_was_typed_is_text(reader, order):
    Pipeline.objects.create(name="a/<b>")
    Task.objects.filter(pk=order.pk).update(labels={"<i>": "<script>"}, payload={"<u>": "<script>"})

    page = reader.get(LIST, {"q": "<script>"}).content.decode()

    assert "Label &lt;i&gt; = &lt;script&gt;" in page
    assert "<script>”" not in page


def test_large_payloads_are_passed_over(reader, order):
    Task.objects.filter(pk=order.pk).update(payload={"id": "needle", "more": [str(number) for number in range(20_000)]})

    assert offers_of(reader, "needle") == {}
