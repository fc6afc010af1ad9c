"""Events: to be read, not to be changed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse

from taskqueue import CancelOn, pipeline, wait_for
from taskqueue.engine.events import send
from taskqueue.engine.mirror import mirror_pipeline
from taskqueue.engine.routing import route
from taskqueue.models import Event, Task
from taskqueue.testing import work
from tests.admin.conftest import client_of
from tests.admin.pages import page_of, text_of

EVENTS = "/admin/taskqueue/event/"


def place_of(event: Event) -> str:
    return reverse("admin:taskqueue_event_change", args=[event.pk])


@pytest.fixture
def reader():
    return client_of("rita", "view_event")


@pytest.fixture
def event() -> Event:
    """One that starts a task, ends the wait of another, cancels a third, and does not fit a pipeline."""

    @pipeline("events/waits", cancel_on=CancelOn("paid", match={"cancel": "{number}"}))
    def waits(number: int) -> object:
        return wait_for("paid", match={"order": number}, timeout=timedelta(days=1))

    @pipeline("events/starts", on="paid")
    def starts(order: int) -> int:
        return order

    @pipeline("events/picky", on="paid")
    def picky(nothing: int) -> None: ...

    for each in (starts, picky):
        mirror_pipeline(each.definition)
    waits.enqueue(1)
    waits.enqueue(2)
    work()
    sent = send("paid", {"order": 1, "cancel": 2, "note": "<b>bold</b>"}, external_id="hook-1")
    route(sent.pk)
    return sent


def test_viewing_needs_the_right_to(client, stranger, reader, event):
    for address in (EVENTS, place_of(event)):
        assert client.get(address).url.startswith("/admin/login/")
        assert stranger.get(address).status_code == 403
        assert reader.get(address).status_code == 200


def test_nothing_is_added_changed_or_deleted_by_hand(admin, event):
    assert admin.get(f"{EVENTS}add/").status_code == 403
    assert admin.post(place_of(event), {"name": "mine"}).status_code == 403
    assert admin.get(place_of(event).replace("change", "delete")).status_code == 403


def test_the_list_tells_what_came_of_each_event(reader, event):
    send("unheard", {})

    text = text_of(reader.get(EVENTS))

    assert "paid" in text
    assert "just now just now 1 2 yes" in text
    assert "unheard" in text
    assert "not yet 0 0" in text


def test_an_event_leads_to_the_tasks_that_it_reached(reader, event):
    response = reader.get(place_of(event))

    started, waited, cancelled = (
        Task.objects.get(pipeline="events/starts"),
        Task.objects.get(pipeline="events/waits", status="queued"),
        Task.objects.get(pipeline="events/waits", status="cancelled"),
    )
    for task in (started, waited, cancelled):
        assert page_of(task) in response.content.decode()
    assert "events/picky" in text_of(response)
    assert "<b>bold</b>" not in response.content.decode()
    assert "hook-1" in text_of(response)


def test_the_list_needs_a_fixed_number_of_queries(admin, event, django_assert_num_queries):
    for number in range(5):
        send("more", {"n": number})
    with django_assert_num_queries(4):  # session, user, count, rows
        admin.get(EVENTS)


def test_names_are_found_by_their_beginning(reader, event):
    send("other", {})

    assert "paid" not in text_of(reader.get(EVENTS, {"q": "oth"}))
