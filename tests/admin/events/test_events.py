"""Events in the admin: list, page with effects, and the form that sends one."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from taskqueue import CancelOn, pipeline, wait_for
from taskqueue.admin.shared import formats
from taskqueue.engine.catalog.sync import sync_pipeline
from taskqueue.engine.events.route import route
from taskqueue.engine.events.send import send
from taskqueue.models import Event, Task
from taskqueue.testing import work
from tests.support.admin_pages import messages_of, page_of, text_of
from tests.support.users import client_of

EVENTS = "/admin/taskqueue/event/"
SEND = f"{EVENTS}send/"


def event_page(event: Event) -> str:
    return reverse("admin:taskqueue_event_change", args=[event.pk])


@pytest.fixture
def reader():
    return client_of("rita", "view_event")


@pytest.fixture
def event() -> Event:
    """An event that starts a task, resolves a wait, cancels a task, and does not fit one pipeline."""

    @pipeline("events/waits", cancel_on=CancelOn("paid", match={"cancel": "{number}"}))
    def waits(number: int) -> object:
        return wait_for("paid", match={"order": number}, timeout=timedelta(days=1))

    @pipeline("events/starts", on="paid")
    def starts(order: int) -> int:
        return order

    @pipeline("events/picky", on="paid")
    def picky(nothing: int) -> None: ...

    for each in (starts, picky):
        sync_pipeline(each.definition)
    waits.enqueue(1)
    waits.enqueue(2)
    work()
    sent = send("paid", {"order": 1, "cancel": 2, "note": "<b>bold</b>"}, external_id="hook-1")
    route(sent.pk)
    return sent


def test_viewing_needs_its_permission(client, stranger, reader, event):
    for address in (EVENTS, event_page(event)):
        assert client.get(address).url.startswith("/admin/login/")
        assert stranger.get(address).status_code == 403
        assert reader.get(address).status_code == 200


def test_adding_changing_and_deleting_are_refused(admin, event):
    assert admin.get(f"{EVENTS}add/").status_code == 403
    assert admin.post(event_page(event), {"name": "mine"}).status_code == 403
    assert admin.get(event_page(event).replace("change", "delete")).status_code == 403


def test_the_list_shows_the_effects_of_each_event(reader, event):
    send("unheard", {})

    text = text_of(reader.get(EVENTS))

    assert "paid" in text
    started = formats.short_id(Task.objects.get(event=event).pk)
    ended = " ".join(formats.short_id(task) for task in event.resolved.order_by("pk").values_list("task", flat=True))
    assert f"just now just now 1 {started} 2 {ended} yes" in text
    assert "unheard" in text
    assert "not yet 0 0" in text


def test_an_event_links_to_the_tasks_that_it_reached(reader, event):
    response = reader.get(event_page(event))

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


def test_events_are_found_by_the_beginning_of_their_name(reader, event):
    send("other", {})

    assert "paid" not in text_of(reader.get(EVENTS, {"q": "oth"}))


@pytest.fixture
def sender():
    return client_of("sven", "view_event", "add_event")


def test_an_event_is_sent_by_form_and_its_page_shows_the_effects(sender, event, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        response = sender.post(SEND, {"name": "paid", "content": '{"order": 7}', "id": "hook-2"})

    sent = Event.objects.get(unique_id="hook-2")
    assert (response.url, sent.data) == (event_page(sent), {"order": 7})
    page = sender.get(response.url)
    started = Task.objects.get(event=sent, pipeline="events/starts")
    assert page_of(started) in page.content.decode()
    assert messages_of(page) == ["The event is sent. Its effects are listed below."]
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.get_change_message()) == (str(sent.pk), "Sent by form.")


def test_a_second_event_with_its_id_is_not_sent(sender, event):
    content = json.dumps(event.data)

    response = sender.post(SEND, {"name": "paid", "content": content, "id": "hook-1"}, follow=True)

    assert messages_of(response) == ["Not sent: an event with this ID exists already."]
    assert response.redirect_chain[-1][0] == event_page(event)
    assert Event.objects.count() == 1
    assert not LogEntry.objects.exists()


def test_a_used_id_with_other_data_is_refused_at_its_field(sender, event):
    response = sender.post(SEND, {"name": "paid", "content": "{}", "id": "hook-1"})

    assert "belongs to event" in response.context["form"].errors["id"][0]
    assert Event.objects.count() == 1


@pytest.mark.parametrize(
    ("values", "field", "error"),
    [
        ({"name": ""}, "name", "An event's name has 1 to 200 printable characters and no spaces."),
        ({"name": "two words"}, "name", "An event's name has 1 to 200 printable characters and no spaces."),
        ({"content": "[1]"}, "content", "An event's data is a JSON object."),
        ({"content": '{"a": NaN}'}, "content", "This is not JSON: NaN is not a JSON number."),
        ({"id": "i" * 201}, "id", "An id has at most 200 characters."),
        ({"content": '{"a": "' + "x" * 600_000 + '"}'}, "content", "The event's data"),
    ],
)
def test_an_invalid_event_is_refused_at_its_field(sender, values, field, error):
    response = sender.post(SEND, {"name": "paid", "content": "{}", "id": "", **values})

    form = response.context["form"]
    assert list(form.errors) == [field]
    assert form.errors[field][0].startswith(error)
    assert not Event.objects.exists()


@pytest.mark.parametrize("levels", [101, 5_000])
def test_data_nested_too_deeply_is_refused_at_its_field(sender, levels):
    for content in ('{"a":' * levels + "1" + "}" * levels, "[" * levels + "]" * levels):
        form = sender.post(SEND, {"name": "paid", "content": content}).context["form"]

        assert form.errors == {"content": ["This is nested too deeply: more than 100 levels."]}
    assert not Event.objects.exists()


def test_invalid_json_is_kept_as_typed(sender):
    response = sender.post(SEND, {"name": "paid", "content": "{order: 1}"})

    assert "This is not JSON: Expecting property name" in text_of(response)
    assert "{order: 1}" in text_of(response)


def test_sending_needs_add_event(client, reader):
    assert client.get(SEND).url.startswith("/admin/login/")
    assert (reader.get(SEND).status_code, reader.post(SEND, {"name": "paid"}).status_code) == (403, 403)
    assert "Send an event" not in text_of(reader.get(EVENTS))


def test_the_form_offers_the_names_of_triggers(sender, event):
    page = sender.get(f"{SEND}?name=other").content.decode()

    assert '<option value="paid">' in page
    assert 'name="name" value="other"' in page


def test_events_are_found_by_id_and_senders_id(reader, event):
    send("other", {})

    for term in (str(event.pk)[:13], str(event.pk), "hook-1"):
        assert "other" not in text_of(reader.get(EVENTS, {"q": term})).split("Received")[-1], term
        assert "paid" in text_of(reader.get(EVENTS, {"q": term})), term


def test_the_list_links_to_the_tasks(reader, event):
    page = reader.get(EVENTS).content.decode()

    assert page_of(Task.objects.get(pipeline="events/starts")) in page
    assert page_of(Task.objects.get(pipeline="events/waits", status="queued")) in page


def test_an_empty_list_explains_how_to_send_an_event(reader, sender):
    assert "There are no events yet. Send one with POST /api/events" in text_of(reader.get(EVENTS))
    assert "or by a form" in text_of(sender.get(EVENTS))
    assert "No event's name or id begins with “zzz”." in text_of(reader.get(EVENTS, {"q": "zzz"}))
