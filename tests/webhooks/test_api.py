"""Subscriptions and callback URLs over the API."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection

from taskqueue import Permanent, Retry, pipeline, step
from taskqueue.definitions import DELIVERY, INTERNAL
from taskqueue.models import Pipeline, PipelinePermission, Subscription, Task
from taskqueue.testing import work
from taskqueue.webhooks.signatures import new_secret
from tests.support.api import Caller, problem_of
from tests.support.receivers import is_signed_with, receiver, status

pytestmark = pytest.mark.django_db

LIST = "/api/subscriptions"
BODY = {"address": "https://example.com/hook"}
ALL = ("view_subscription", "add_subscription", "change_subscription", "delete_subscription", "add_task", "view_task")


@step(retry=Retry.never())
def fail_if(remainder: int) -> str:
    if remainder:
        raise Permanent("odd")
    return "even"


@pipeline("hooks/api")
def even(number: int) -> str:
    return fail_if(number % 2)


@pytest.fixture
def editor(db):
    return Caller("mia", *ALL)


@pytest.fixture
def subscription(db):
    return Subscription.objects.create(address="https://example.com/hook")


def test_a_subscription_is_created_with_its_secret(editor):
    response = editor.post(LIST, {**BODY, "pipelines": ["shop/*"], "labels": {"a": "b"}, "endings": ["failed"]})

    made = Subscription.objects.get()
    answer = response.json()
    assert (response.status_code, response["Location"]) == (201, f"{LIST}/{made.pk}")
    assert answer["secret"] == made.secret
    assert (answer["pipelines"], answer["labels"], answer["endings"]) == (["shop/*"], {"a": "b"}, ["failed"])
    assert made.user == User.objects.get(username="mia")
    assert LogEntry.objects.get().get_change_message() == "To https://example.com/hook."
    shown = editor.get(LIST).content.decode() + editor.get(f"{LIST}/{made.pk}").content.decode()
    assert made.secret not in shown
    assert editor.get(LIST).json()["subscriptions"][0]["enabled"] is True


@pytest.mark.parametrize(
    ("values", "pointers"),
    [
        ({"address": "http://example.com/"}, ["/address"]),
        ({"address": "https://localhost:1/\n"}, ["/address"]),
        ({"address": "https://192.168.0.1/"}, ["/address"]),
        ({"pipelines": ["a*b"]}, ["/pipelines"]),
        ({"labels": {"a": 1}}, ["/labels/a"]),
        ({"endings": ["queued"]}, ["/endings"]),
        ({"endings": []}, ["/endings"]),
        ({"secret": "whsec_mine"}, ["/secret"]),
    ],
)
def test_invalid_values_are_refused(editor, subscription, values, pointers):
    for response in (editor.post(LIST, {**BODY, **values}), editor.patch(f"{LIST}/{subscription.pk}", values)):
        status_code, _code, found = problem_of(response)
        assert (status_code, found) == (422, pointers)
    assert Subscription.objects.get() == subscription


def test_a_change_keeps_what_it_does_not_name(editor, subscription):
    address = f"{LIST}/{subscription.pk}"
    assert editor.patch(address, {"labels": {"a": "b"}}).json()["labels"] == {"a": "b"}

    assert editor.patch(address, {"enabled": False}).json()["disabled_reason"] == "Disabled by mia."
    changed = editor.patch(address, {"enabled": True, "description": "CRM"}).json()
    assert (changed["enabled"], changed["description"], changed["labels"]) == (True, "CRM", {"a": "b"})
    assert Subscription.objects.get().user == User.objects.get(username="mia")


def test_a_subscription_is_deleted_with_an_audit_entry(editor, subscription):
    assert editor.delete(f"{LIST}/{subscription.pk}").status_code == 204

    assert not Subscription.objects.exists()
    assert LogEntry.objects.get().is_deletion()


def test_a_test_event_is_delivered_by_a_task(editor, subscription):
    response = editor.post(f"{LIST}/{subscription.pk}/test")

    assert response.status_code == 202
    assert Task.objects.get(pk=response.json()["id"]).pipeline_id == DELIVERY


def test_each_call_needs_its_permission(subscription):
    stranger = Caller("stan")
    one = f"{LIST}/{subscription.pk}"
    calls = [
        stranger.get(LIST),
        stranger.post(LIST, BODY),
        stranger.get(one),
        stranger.patch(one, {}),
        stranger.delete(one),
        stranger.post(f"{one}/test"),
    ]
    assert {response.status_code for response in calls} == {403}


def test_a_missing_subscription_is_not_found(editor):
    calls = [
        editor.get(f"{LIST}/7"),
        editor.patch(f"{LIST}/7", {}),
        editor.delete(f"{LIST}/7"),
        editor.post(f"{LIST}/7/test"),
        editor.get(f"{LIST}/{10**30}"),
    ]
    assert {response.status_code for response in calls} == {404}


@pytest.mark.parametrize("name", sorted(INTERNAL))
def test_no_caller_submits_a_delivery(name):
    caller = Caller("root", *ALL)
    User.objects.update(is_superuser=True)

    assert caller.post("/api/tasks", {"pipeline": name, "payload": {"event": {}}}).status_code == 403


@pytest.fixture
def secret(settings):
    """The secret of callbacks, in a project that allows private addresses."""
    made = new_secret()
    settings.TASKQUEUE = {**settings.TASKQUEUE, "WEBHOOKS_SECRET": made, "WEBHOOKS_ALLOW_PRIVATE": True}
    return made


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", [0, 1])
def test_a_callback_url_is_called_at_the_end(editor, secret, number):
    with receiver(status(503), status(204)) as server:
        body = {"pipeline": "hooks/api", "payload": {"number": number}, "callback_url": server.address}
        task = editor.post("/api/tasks", body).json()["id"]
        work()
        delivery = Task.objects.get(pipeline=DELIVERY)
        assert (delivery.status, delivery.labels) == ("retrying", {"callback": task})
        with connection.cursor() as cursor:
            cursor.execute("UPDATE taskqueue_task SET due_at = now(), sort_at = now() WHERE id = %s", [delivery.pk])
        work()

    first, second = server.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == str(delivery.pk)
    assert is_signed_with(second, secret)
    assert second.event["type"] == ["task.succeeded", "task.failed"][number]
    assert second.event["data"]["task"] == task


@pytest.mark.django_db(transaction=True)
def test_tasks_of_a_batch_have_their_own_callback_urls(editor, secret):
    with receiver() as one, receiver() as two:
        addresses = [one.address, two.address, ""]
        tasks = [{"pipeline": "hooks/api", "payload": {"number": 2}, "callback_url": address} for address in addresses]
        ids = [task["id"] for task in editor.post("/api/tasks/batch", {"tasks": tasks}).json()["tasks"]]
        work()

    called = [request.event["data"]["task"] for request in (*one.requests, *two.requests)]
    assert called == ids[:2]


def test_an_existing_task_keeps_its_own_callback_url(editor, secret):
    body = {"pipeline": "hooks/api", "payload": {"number": 2}, "key": "k"}
    editor.post("/api/tasks", {**body, "callback_url": "https://example.com/one"})
    editor.post("/api/tasks", {**body, "callback_url": "https://example.com/two"})

    assert Task.objects.get().callback_url == "https://example.com/one"


def test_a_callback_url_is_checked(editor, secret, settings):
    body = {"pipeline": "hooks/api", "payload": {"number": 2}, "callback_url": "https://10.0.0.1/"}
    settings.TASKQUEUE = {**settings.TASKQUEUE, "WEBHOOKS_ALLOW_PRIVATE": False}
    assert problem_of(editor.post("/api/tasks", body))[::2] == (422, ["/callback_url"])
    assert problem_of(editor.post("/api/tasks/batch", {"tasks": [body]}))[::2] == (422, ["/tasks/0/callback_url"])

    settings.TASKQUEUE = {**settings.TASKQUEUE, "WEBHOOKS_SECRET": ""}
    refused = editor.post("/api/tasks", {**body, "callback_url": "https://example.com/"})
    assert "WEBHOOKS_SECRET" in refused.json()["detail"]
    assert not Task.objects.exists()


def test_a_caller_who_may_not_see_results_gets_none_by_a_callback(editor, secret):
    PipelinePermission.objects.create(
        pipeline=Pipeline.objects.get(name="hooks/api"), user=User.objects.get(username="mia"), run=True
    )
    body = {"pipeline": "hooks/api", "payload": {"number": 2}}

    assert editor.post("/api/tasks", {**body, "callback_url": "https://example.com/"}).status_code == 403
    assert editor.post("/api/tasks", body).status_code == 202
