"""Alert rules over the API: what the admin does, with the same permissions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection, transaction
from django.db.models.functions import Now

from taskqueue.definitions import ALERT
from taskqueue.models import Alert, AlertRule, Task
from tests.support.api import Caller, problem_of
from tests.support.database.races import wait_for_blocked_session

pytestmark = pytest.mark.django_db

LIST = "/api/alert-rules"
BODY = {"name": "Late", "condition": "oldest-queued", "threshold": 5}
ALL = ("view_alertrule", "add_alertrule", "change_alertrule", "delete_alertrule")


@pytest.fixture
def editor(db):
    AlertRule.objects.all().delete()
    return Caller("mia", *ALL)


@pytest.fixture
def rule(editor):
    return AlertRule.objects.create(name="Slow", condition="oldest-queued", threshold=5, mail_addresses="a@example.com")


def test_a_rule_is_created_with_its_recipients(editor):
    given = {
        **BODY, "subjects": ["shop/*"], "hold_for_seconds": 90, "repeat_every_seconds": None,
        "mail_addresses": ["ops@example.com", "dev@example.com"],
    }  # fmt: skip
    answer = editor.post(LIST, given)

    assert answer.status_code == 201
    created = answer.json()
    assert {name: created[name] for name in given} == given
    rule = AlertRule.objects.get()
    assert answer["Location"] == f"{LIST}/{rule.pk}"
    assert (rule.hold_for, rule.repeat_every, rule.condition) == (timedelta(seconds=90), None, "oldest-queued")
    assert rule.recipients == [("mail", "ops@example.com"), ("mail", "dev@example.com")]
    assert LogEntry.objects.get().get_change_message() == "Added."


def test_what_is_left_out_has_a_default(editor):
    created = editor.post(LIST, BODY).json()

    assert (created["hold_for_seconds"], created["repeat_every_seconds"]) == (0, 4 * 3600)
    assert (created["is_enabled"], created["subjects"], created["mail_addresses"]) == (True, [], [])


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"condition": "weather"}, "/condition"),
        ({"threshold": 0}, "/threshold"),
        ({"threshold": "many"}, "/threshold"),
        ({"mail_addresses": ["no-address"]}, "/mail_addresses"),
        ({"slack_addresses": ["http://127.0.0.1/x"]}, "/slack_addresses"),
        ({"repeat_every_seconds": 5}, "/repeat_every_seconds"),
        ({"subjects": ["a*b"]}, "/subjects"),
        ({"name": "Slow"}, "/name"),
        ({"colour": "red"}, "/colour"),
    ],
)
def test_a_value_that_is_not_valid_is_named(editor, rule, change, pointer):
    assert problem_of(editor.post(LIST, {**BODY, **change})) == (422, "invalid-body", [pointer])
    assert AlertRule.objects.get() == rule


def test_a_change_leaves_the_rest(editor, rule):
    answer = editor.patch(f"{LIST}/{rule.pk}", {"threshold": 7.5, "is_enabled": False})

    assert (answer.json()["threshold"], answer.json()["is_enabled"]) == (7.5, False)
    rule.refresh_from_db()
    assert (rule.threshold, rule.is_enabled, rule.mail_addresses, rule.name) == (7.5, False, "a@example.com", "Slow")
    assert LogEntry.objects.get().get_change_message() == "Changed."


def test_an_empty_change_has_no_audit_entry(editor, rule):
    assert editor.patch(f"{LIST}/{rule.pk}", {}).status_code == 200

    assert not LogEntry.objects.exists()


def change_in_thread(caller, address):
    try:
        return caller.patch(address, {"threshold": 7})
    finally:
        connection.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_change_waits_for_another_one_and_keeps_it(editor, rule, is_deleted):
    address = f"{LIST}/{rule.pk}"
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            stored = AlertRule.objects.filter(pk=rule.pk)
            stored.delete() if is_deleted else stored.update(is_enabled=False)
            answer = pool.submit(change_in_thread, editor, address)
            wait_for_blocked_session()
        assert answer.result().status_code == (404 if is_deleted else 200)

    assert list(AlertRule.objects.values_list("threshold", "is_enabled")) == ([] if is_deleted else [(7, False)])


def test_a_rule_shows_what_fires(editor, rule):
    times = {"pending_since": Now(), "firing_since": Now()}
    Alert.objects.create(rule=rule, subject="shop/order", value=9, text="Late.", link="task/", **times)

    (listed,) = editor.get(LIST).json()["alert_rules"]

    assert listed == editor.get(f"{LIST}/{rule.pk}").json()
    (alert,) = listed["alerts"]
    assert (alert["subject"], alert["value"], alert["text"]) == ("shop/order", 9, "Late.")
    assert alert["firing_since"] is not None
    assert alert["notified_at"] is None


def test_a_silence_begins_now_and_can_be_ended(editor, rule):
    silenced = editor.post(f"{LIST}/{rule.pk}/silence", {"seconds": 3600, "reason": "deploy"}).json()

    assert (silenced["silenced_by"], silenced["silence_reason"]) == ("mia", "deploy")
    assert AlertRule.objects.filter(silenced_until__gt=Now() + timedelta(minutes=59)).exists()
    assert editor.post(f"{LIST}/{rule.pk}/end-silence", {}).json()["silenced_until"] is None
    assert [entry.get_change_message()[:8] for entry in LogEntry.objects.order_by("pk")] == ["Silenced", "Silence "]


def test_a_silence_can_end_at_a_time(editor, rule):
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)

    silenced = editor.post(f"{LIST}/{rule.pk}/silence", {"until": until.isoformat()}).json()

    assert datetime.fromisoformat(silenced["silenced_until"]) == until


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"seconds": 60, "until": "2030-01-31T08:00:00Z"}, ""),
        ({"seconds": 0}, "/seconds"),
        ({"until": "2020-01-31T08:00:00Z"}, "/until"),
        ({"until": "8999-01-31T08:00:00Z"}, "/until"),
        ({"until": "tomorrow"}, "/until"),
        ({"seconds": 60, "reason": "a" * 301}, "/reason"),
    ],
)
def test_a_silence_that_is_not_valid_is_refused(editor, rule, body, pointer):
    assert problem_of(editor.post(f"{LIST}/{rule.pk}/silence", body)) == (422, "invalid-body", [pointer])
    assert AlertRule.objects.get().silenced_until is None


def test_a_test_message_is_a_task_for_each_recipient(editor, rule):
    answer = editor.post(f"{LIST}/{rule.pk}/test", {})

    assert (answer.status_code, answer.json()) == (202, {"messages": 1})
    assert Task.objects.get().pipeline_id == ALERT
    assert LogEntry.objects.get().get_change_message() == "Test message sent."


def test_a_deleted_rule_is_gone(editor, rule):
    assert editor.delete(f"{LIST}/{rule.pk}").status_code == 204

    assert LogEntry.objects.get().is_deletion()
    for answer in calls_of(editor, rule.pk):
        assert problem_of(answer) == (404, "not-found", [])
    assert editor.get(LIST).json() == {"alert_rules": []}


def calls_of(caller, rule_id):
    """The answers to all calls for one rule."""
    one = f"{LIST}/{rule_id}"
    return [
        caller.get(one),
        caller.patch(one, {"threshold": 1}),
        caller.post(f"{one}/silence", {"seconds": 60}),
        caller.post(f"{one}/end-silence"),
        caller.post(f"{one}/test"),
        caller.delete(one),
    ]


def test_each_call_needs_its_permission(rule):
    def statuses(*permissions):
        caller = Caller("-".join(permissions), *permissions)
        answers = [caller.get(LIST), caller.post(LIST, BODY), *calls_of(caller, rule.pk)]
        return [answer.status_code for answer in answers]

    assert statuses("view_task") == [403] * 8
    assert statuses("view_alertrule") == [200, 403, 200, 403, 403, 403, 403, 403]
    assert statuses("add_alertrule") == [403, 201, 403, 403, 403, 403, 403, 403]
    assert statuses("change_alertrule") == [403, 403, 403, 200, 200, 200, 202, 403]
    assert statuses("delete_alertrule") == [403, 403, 403, 403, 403, 403, 403, 204]


def test_addresses_are_for_callers_who_may_change_the_rule(rule):
    reader = Caller("rea", "view_alertrule")

    (listed,) = reader.get(LIST).json()["alert_rules"]

    assert (listed["mail_addresses"], listed["slack_addresses"], listed["webhook_addresses"]) == (None, None, None)
    assert problem_of(reader.patch(f"{LIST}/{rule.pk}", {"threshold": 1})) == (403, "not-allowed", [])
    assert problem_of(reader.post(LIST, BODY)) == (403, "not-allowed", [])
