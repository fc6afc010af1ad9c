"""Subscriptions in the admin: their secret is shown once, and each action needs its permission."""

from __future__ import annotations

import re

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User

from taskqueue.definitions import DELIVERY
from taskqueue.engine.access.actor import SYSTEM
from taskqueue.engine.actions import subscriptions
from taskqueue.models import Subscription, Task
from tests.support.admin_pages import messages_of, text_of
from tests.support.users import client_of

pytestmark = pytest.mark.django_db

LIST, ADD = "/admin/taskqueue/subscription/", "/admin/taskqueue/subscription/add/"
VALUES = {
    "address": "https://example.com/hook",
    "description": "",
    "pipelines": "shop/*",
    "labels": '{"customer": "7"}',
    "endings": ["failed"],
}


@pytest.fixture
def editor():
    return client_of("mia", "view_subscription", "add_subscription", "change_subscription", "delete_subscription")


@pytest.fixture
def subscription():
    return Subscription.objects.create(address="https://example.com/hook")


def page(subscription, view="change"):
    return f"{LIST}{subscription.pk}/{view}/"


def test_the_secret_is_shown_only_once(editor, caplog):
    caplog.set_level("DEBUG")
    response = editor.post(ADD, VALUES)

    made = Subscription.objects.get()
    (secret,) = re.findall(r"whsec_[\w+/=]{44}", response.content.decode())
    pages = "".join(editor.get(each).content.decode() for each in (LIST, page(made), page(made, "history")))
    assert secret == made.secret
    assert "no-store" in response["Cache-Control"]
    assert secret not in pages + caplog.text + str(LogEntry.objects.values())
    assert (made.pipelines, made.labels, made.endings) == (["shop/*"], {"customer": "7"}, ["failed"])
    assert made.user == User.objects.get(username="mia")
    assert [entry.get_change_message() for entry in LogEntry.objects.all()] == ["To https://example.com/hook."]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"address": "http://example.com/"}, "The address must begin with https://."),
        ({"address": "https://10.0.0.1/"}, "10.0.0.1 is not a public address"),
        ({"address": ""}, "This field is required."),
        ({"pipelines": "a*b"}, "An asterisk stands at the end"),
        ({"labels": "[1]"}, "Labels are a JSON object of texts"),
        ({"labels": '{"a": 1}'}, "Labels are a JSON object of texts"),
        ({"endings": []}, "This field is required."),
        ({"endings": ["queued"]}, "queued is not one of the available choices"),
    ],
)
def test_invalid_values_are_refused(editor, values, message):
    assert message in text_of(editor.post(ADD, {**VALUES, **values}))
    assert not Subscription.objects.exists()


def test_a_change_belongs_to_the_user_who_made_it(editor, subscription):
    response = editor.post(page(subscription), {**VALUES, "address": "https://example.com/other"}, follow=True)

    subscription.refresh_from_db()
    assert response.status_code == 200
    assert subscription.address == "https://example.com/other"
    assert subscription.user == User.objects.get(username="mia")
    assert LogEntry.objects.get().get_change_message().startswith("Changed ")


def test_actions_disable_and_enable(editor, subscription):
    def run(action):
        return editor.post(LIST, {"action": action, "_selected_action": [subscription.pk]}, follow=True)

    assert messages_of(run("disable_selected")) == ["1 subscription disabled."]
    subscription.refresh_from_db()
    assert subscription.disabled_reason == "Disabled by mia."
    assert "disabled just now Disabled by mia." in text_of(editor.get(LIST))
    assert messages_of(run("enable_selected")) == ["1 subscription enabled."]
    subscription.refresh_from_db()
    assert (subscription.disabled_at, subscription.disabled_reason) == (None, "")
    assert [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")] == [
        "Disabled. Disabled by mia.",
        "Enabled.",
    ]


def test_rotation_shows_the_new_secret(editor, subscription):
    response = editor.post(page(subscription, "rotate"))

    old = subscription.secret
    subscription.refresh_from_db()
    assert subscription.secret != old == subscription.old_secret
    assert subscription.secret in response.content.decode()
    assert "no-store" in response["Cache-Control"]
    assert LogEntry.objects.get().get_change_message() == "Secret rotated."


def test_a_test_event_is_a_delivery(editor, subscription):
    response = editor.post(page(subscription, "test"))

    task = Task.objects.get(pipeline=DELIVERY)
    assert response.url == f"/admin/taskqueue/task/{task.pk}/change/"
    assert task.payload["event"]["type"] == "webhook.test"


def test_a_subscription_is_deleted(editor, subscription):
    editor.post(page(subscription, "delete"), {"post": "yes"})

    assert not Subscription.objects.exists()


def test_the_pages_show_deliveries(subscription):
    viewer = client_of("vera", "view_subscription", "view_task")
    assert "none yet" in text_of(viewer.get(LIST))
    subscriptions.send_test(subscription, actor=SYSTEM)

    assert "Queued" in text_of(viewer.get(LIST))
    shown = viewer.get(page(subscription)).content.decode()
    assert f"/admin/taskqueue/task/?label=subscription%3D{subscription.pk}" in shown
    assert str(Task.objects.get(pipeline=DELIVERY).pk) in shown
    listed = viewer.get("/admin/taskqueue/task/", {"label": f"subscription={subscription.pk}"})
    assert DELIVERY in text_of(listed)


def test_each_action_needs_its_permission(subscription):
    viewer, stranger = client_of("vera", "view_subscription"), client_of("stan")

    assert stranger.get(LIST).status_code == 403
    assert viewer.get(LIST).status_code == 200
    assert "Rotate" not in text_of(viewer.get(page(subscription)))
    refused = [ADD, page(subscription), page(subscription, "rotate"), page(subscription, "test")]
    assert {viewer.post(each, VALUES).status_code for each in [*refused, page(subscription, "delete")]} == {403}
    assert Subscription.objects.get().secret == subscription.secret


def test_a_button_of_a_deleted_subscription_does_nothing(editor, subscription):
    address = page(subscription, "rotate")
    subscription.delete()

    assert messages_of(editor.post(address, follow=True)) == ["There is no such subscription; nothing was done."]


def test_the_list_costs_the_same_for_any_number(editor, django_assert_max_num_queries):
    for number in range(5):
        Subscription.objects.create(address=f"https://example.com/{number}")
    with django_assert_max_num_queries(12):
        assert editor.get(LIST).status_code == 200
