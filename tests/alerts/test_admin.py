"""Alert rules in the admin, and what fires on the overview."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.core.cache import cache

from taskqueue.engine.access.actor import SYSTEM
from taskqueue.engine.actions import alerts
from taskqueue.engine.alerts.evaluate import evaluate_rules
from taskqueue.models import Alert, AlertRule
from tests.support.admin_pages import messages_of, text_of
from tests.support.alerts import evaluate_after, messages, only_rule
from tests.support.users import client_of

pytestmark = pytest.mark.django_db

LIST = "/admin/taskqueue/alertrule/"
VALUES = {
    "name": "Orders",
    "condition": "failure-rate",
    "threshold": "10",
    "subjects": "shop/*",
    "hold_for": "2m",
    "repeat_every": "4h",
    "mail_addresses": "ops@example.com",
    "slack_addresses": "https://hooks.slack.com/services/T0/B0/secret",
    "webhook_addresses": "",
    "is_enabled": "on",
}


@pytest.fixture(autouse=True)
def _empty_cache():
    cache.clear()


@pytest.fixture
def editor():
    return client_of("mia", "view_alertrule", "add_alertrule", "change_alertrule", "delete_alertrule", "view_task")


@pytest.fixture
def viewer():
    return client_of("vera", "view_alertrule", "view_task")


def page(rule, view="change"):
    return f"{LIST}{rule.pk}/{view}/"


def log():
    return [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")]


def test_a_rule_is_added(editor):
    response = editor.post(f"{LIST}add/", VALUES, follow=True)

    rule = AlertRule.objects.get(name="Orders")
    assert "was added successfully" in text_of(response)
    assert (rule.hold_for, rule.repeat_every) == (timedelta(minutes=2), timedelta(hours=4))
    assert rule.subjects == ["shop/*"]
    assert [channel for channel, _address in rule.recipients] == ["mail", "slack"]
    assert log() == ["Added."]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"threshold": "0"}, "The threshold is a number above 0."),
        ({"threshold": "inf"}, "Enter a number."),
        ({"threshold": ""}, "This field is required."),
        ({"condition": "weather"}, "weather is not one of the available choices"),
        ({"subjects": "a*b"}, "An asterisk stands at the end"),
        ({"hold_for": "soon"}, "Write seconds, or a length such as 15m"),
        ({"repeat_every": "5s"}, "Remind every minute at most"),
        ({"mail_addresses": "ops@example.com\nops"}, "ops is not a mail address."),
        ({"mail_addresses": "\n".join(f"{n}@example.com" for n in range(21))}, "Give 20 addresses at most."),
        ({"slack_addresses": "http://example.com/"}, "The address must begin with https://."),
        ({"slack_addresses": "https://10.0.0.1/"}, "10.0.0.1 is not a public address"),
        ({"webhook_addresses": "https://example.com/"}, "This service has no secret to sign calls"),
        ({"name": "Failure rate"}, "Alert rule with this Name already exists."),
    ],
)
def test_invalid_values_are_refused(editor, values, message):
    assert message in text_of(editor.post(f"{LIST}add/", {**VALUES, **values}))
    assert not AlertRule.objects.filter(name="Orders").exists()


def test_a_rule_is_changed_while_it_is_silenced(editor):
    rule = only_rule()
    alerts.silence(rule, datetime.now(UTC) + timedelta(hours=1), "deploy", actor=SYSTEM)
    evaluate_rules()
    editor.post(page(rule), {**VALUES, "condition": "workers", "threshold": "2", "repeat_every": ""})

    rule.refresh_from_db()
    assert (rule.threshold, rule.repeat_every, rule.silence_reason) == (2, None, "deploy")
    assert rule.evaluated_at is not None
    assert Alert.objects.count() == 1
    editor.post(page(rule), VALUES)
    assert Alert.objects.count() == 0  # they were of another condition


def test_a_rule_is_deleted_with_its_alerts(editor):
    rule = only_rule()
    evaluate_rules()
    editor.post(page(rule, "delete"), {"post": "yes"})

    assert not AlertRule.objects.exists()
    assert not Alert.objects.exists()


def test_a_rule_is_silenced_with_a_reason(editor):
    rule = only_rule()
    assert "Silence Workers?" in text_of(editor.get(page(rule, "silence")))
    assert "This field is required." in text_of(editor.post(page(rule, "silence"), {"length": "2h", "reason": ""}))
    response = editor.post(page(rule, "silence"), {"length": "2h", "reason": "deploy"}, follow=True)

    assert "The rule sends nothing until" in messages_of(response)[0]
    assert "silenced by mia (deploy), ends in" in text_of(response)
    rule.refresh_from_db()
    assert log() == [f"Silenced until {rule.silenced_until:%Y-%m-%d %H:%M} UTC. deploy"]
    response = editor.post(page(rule, "end-silence"), follow=True)
    assert messages_of(response) == ["The rule sends messages again."]
    assert messages_of(editor.post(page(rule, "end-silence"), follow=True)) == ["The rule is not silenced."]
    assert log()[1:] == ["Silence ended."]


def test_a_test_message_is_sent(editor):
    rule = only_rule()
    response = editor.post(page(rule, "test"), follow=True)

    assert response.redirect_chain[0][0] == f"/admin/taskqueue/task/?label=alert-rule%3D{rule.pk}"
    assert str(messages().get().pk) in response.content.decode()
    assert log() == ["Test message sent."]


def test_a_test_without_recipients_says_so(editor):
    response = editor.post(page(only_rule(mail_addresses=""), "test"), follow=True)

    assert messages_of(response) == ["The rule has no recipients. Save some first."]
    assert log() == []


def test_addresses_are_shown_only_to_users_who_may_change_them(editor, viewer):
    rule = only_rule(slack_addresses="https://hooks.slack.com/services/T0/B0/secret")
    evaluate_rules()
    task = messages().get(payload__channel="slack")
    pages = [LIST, page(rule), page(rule, "history"), f"/admin/taskqueue/task/{task.pk}/change/"]

    assert "services/T0" in editor.get(page(rule)).content.decode()
    assert "services/T0" not in "".join(viewer.get(each).content.decode() for each in pages)
    assert "1 mail, 1 slack" in text_of(viewer.get(page(rule)))


def test_each_action_needs_its_permission(viewer):
    rule, stranger = only_rule(), client_of("stan")
    evaluate_rules()
    before = messages().count()

    assert stranger.get(LIST).status_code == 403
    assert viewer.get(LIST).status_code == 200
    assert "Send a test" not in text_of(viewer.get(page(rule)))
    refused = [f"{LIST}add/", *(page(rule, view) for view in ("change", "delete", "test", "silence", "end-silence"))]
    assert {viewer.post(each, VALUES).status_code for each in refused} == {403}
    assert messages().count() == before


def test_a_button_of_a_deleted_rule_does_nothing(editor):
    rule = only_rule()
    address = page(rule, "test")
    rule.delete()

    assert messages_of(editor.post(address, follow=True)) == ["There is no such alert rule; nothing was done."]


def test_the_list_shows_what_each_rule_does(viewer):
    only_rule(hold_for=timedelta(minutes=5))
    evaluate_rules()

    assert "Workers needed: 1, for 5m default 1 mail 1 pending just now" in text_of(viewer.get(LIST))
    evaluate_after(minutes=6)
    assert "1 firing" in text_of(viewer.get(LIST))


def test_the_list_costs_the_same_for_any_number(viewer, django_assert_max_num_queries):
    only_rule()
    for number in range(20):
        AlertRule.objects.create(name=f"{number}", condition="workers", threshold=1)
    evaluate_rules()
    with django_assert_max_num_queries(12):
        assert viewer.get(LIST).status_code == 200


def test_what_fires_stands_on_the_overview(editor):
    rule = only_rule()
    assert "Firing now" not in text_of(editor.get("/admin/"))
    evaluate_rules()
    cache.clear()

    shown = editor.get("/admin/")
    assert "Firing now" in text_of(shown)
    assert "default No live worker that can claim takes queue default." in text_of(shown)
    assert 'href="/admin/taskqueue/worker/">No live worker' in shown.content.decode()
    alerts.silence(rule, datetime.now(UTC) + timedelta(hours=1), actor=SYSTEM)
    cache.clear()
    assert "silenced until" in text_of(editor.get("/admin/"))


def test_the_overview_says_that_no_worker_checks_the_rules(viewer):
    only_rule(evaluated_at=datetime.now(UTC) - timedelta(minutes=10))

    assert "Alert rules have not been checked since" in text_of(viewer.get("/admin/"))
    evaluate_rules()
    cache.clear()
    assert "Alert rules have not been checked since" not in text_of(viewer.get("/admin/"))
