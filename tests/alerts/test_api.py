"""Alert rules over the API: what the admin does, with the same permissions."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db.models.functions import Now

from taskqueue.definitions import ALERT
from taskqueue.models import Alert, AlertRule, Task
from tests.support.api import Api, problem_of
from tests.support.users import client_of

pytestmark = pytest.mark.django_db

LIST = "/api/alert-rules"
BODY = {"name": "Late", "condition": "oldest-queued", "threshold": 5}
ALL = ("view_alertrule", "add_alertrule", "change_alertrule", "delete_alertrule")


class Caller(Api):
    """A caller with these permissions."""

    def __init__(self, name: str, *permissions: str) -> None:
        super().__init__()
        self.client = client_of(name, *permissions)

    def patch(self, path, body):
        return self.client.patch(path, json.dumps(body), content_type="application/json")

    def delete(self, path):
        return self.client.delete(path)


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


def test_a_test_message_is_a_task_for_each_recipient(editor, rule):
    answer = editor.post(f"{LIST}/{rule.pk}/test", {})

    assert (answer.status_code, answer.json()) == (202, {"messages": 1})
    assert Task.objects.get().pipeline_id == ALERT


def test_a_deleted_rule_is_gone(editor, rule):
    assert editor.delete(f"{LIST}/{rule.pk}").status_code == 204

    for answer in (editor.get(f"{LIST}/{rule.pk}"), editor.delete(f"{LIST}/{rule.pk}")):
        assert problem_of(answer) == (404, "not-found", [])
    assert editor.get(LIST).json() == {"alert_rules": []}


def test_addresses_are_for_callers_who_may_change_the_rule(rule):
    reader = Caller("rea", "view_alertrule")

    (listed,) = reader.get(LIST).json()["alert_rules"]

    assert (listed["mail_addresses"], listed["slack_addresses"], listed["webhook_addresses"]) == (None, None, None)
    assert problem_of(reader.patch(f"{LIST}/{rule.pk}", {"threshold": 1})) == (403, "not-allowed", [])
    assert problem_of(reader.post(LIST, BODY)) == (403, "not-allowed", [])
