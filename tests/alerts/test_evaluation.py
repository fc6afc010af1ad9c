"""Alert rules: pending, firing, reminded, silenced, resolved; each message once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from taskqueue.engine.access.actor import SYSTEM
from taskqueue.engine.actions import alerts
from taskqueue.engine.alerts.conditions import CONDITIONS, Finding
from taskqueue.engine.alerts.evaluate import evaluate_rules
from taskqueue.engine.maintenance import sweeps
from taskqueue.models import Alert, AlertRule
from taskqueue.testing import InProcessWorker
from tests.support.alerts import evaluate_after, messages, only_rule, titles
from tests.support.database.races import OpenTransaction, run_concurrently, run_until_blocked

pytestmark = pytest.mark.django_db

FIRING, RESOLVED = "Firing: Workers, default", "Resolved: Workers, default"


def test_a_rule_fires_and_is_resolved():
    rule = only_rule()

    assert evaluate_rules() == 1
    alert = Alert.objects.get()
    assert (alert.subject, alert.text) == ("default", "No live worker that can claim takes queue default.")
    assert alert.firing_since is not None

    with InProcessWorker():
        assert evaluate_after(seconds=20) == 1
    assert titles() == [FIRING, RESOLVED]
    assert not Alert.objects.exists()
    assert {task.labels["alert-rule"] for task in messages()} == {str(rule.pk)}


def test_a_condition_must_hold_for_its_time():
    only_rule(hold_for=timedelta(minutes=5))

    assert evaluate_rules() == 0
    assert Alert.objects.get().firing_since is None
    assert evaluate_after(minutes=4) == 0
    assert evaluate_after(minutes=1) == 1
    assert titles() == [FIRING]


def test_a_pending_alert_ends_without_a_message():
    only_rule(hold_for=timedelta(minutes=5))
    evaluate_rules()
    with InProcessWorker():
        assert evaluate_after(minutes=10) == 0

    assert not Alert.objects.exists()
    evaluate_after(minutes=1)
    assert Alert.objects.get().firing_since is None  # its time begins again


def test_a_rule_reminds():
    only_rule(repeat_every=timedelta(hours=1))
    evaluate_rules()

    assert evaluate_after(minutes=50) == 0
    assert evaluate_after(minutes=11) == 1
    assert evaluate_after(minutes=50) == 0
    assert titles() == [FIRING, FIRING]


def test_a_rule_without_repeat_sends_once():
    only_rule(repeat_every=None)
    evaluate_rules()

    assert evaluate_after(days=30) == 0


def test_a_silence_holds_messages_back_until_it_ends():
    rule = only_rule()
    alerts.silence(rule, datetime.now(UTC) + timedelta(hours=1), "deploy", actor=SYSTEM)

    assert evaluate_rules() == 0
    assert Alert.objects.get().firing_since is not None
    assert evaluate_after(minutes=59) == 0
    assert evaluate_after(minutes=2) == 1


def test_what_ends_in_a_silence_sends_nothing():
    rule = only_rule()
    evaluate_rules()
    alerts.silence(rule, datetime.now(UTC) + timedelta(hours=1), actor=SYSTEM)
    with InProcessWorker():
        assert evaluate_after(minutes=1) == 0

    assert titles() == [FIRING]


def test_the_end_of_a_silence_sends_what_fires():
    rule = only_rule()
    alerts.silence(rule, datetime.now(UTC) + timedelta(hours=1), actor=SYSTEM)
    evaluate_rules()

    assert alerts.end_silence(rule, actor=SYSTEM)
    assert not alerts.end_silence(rule, actor=SYSTEM)
    assert evaluate_after(minutes=1) == 1


def test_a_recipient_that_is_added_later_gets_a_message():
    rule = only_rule(mail_addresses="")
    assert evaluate_rules() == 0
    rule.mail_addresses = "ops@example.com"
    alerts.save(rule, actor=SYSTEM)

    assert evaluate_after(minutes=1) == 1


def test_a_disabled_rule_forgets_its_alerts():
    rule = only_rule()
    evaluate_rules()
    rule.is_enabled = False
    alerts.save(rule, actor=SYSTEM)

    assert not Alert.objects.exists()
    assert evaluate_after(minutes=1) == 0


def test_a_rule_is_evaluated_every_quarter_of_a_minute():
    only_rule()
    evaluate_rules()
    evaluated_at = AlertRule.objects.get().evaluated_at

    sweeps.run_low_priority()

    assert AlertRule.objects.get().evaluated_at == evaluated_at


def test_the_sweeps_evaluate_rules():
    only_rule()

    sweeps.run_low_priority()

    assert titles() == [FIRING]


def test_a_rule_that_fails_stops_no_other(caplog, monkeypatch):
    def fail(_threshold: float) -> list[Finding]:
        raise ValueError("one bad row")

    monkeypatch.setitem(CONDITIONS, "broken", replace(CONDITIONS["workers"], read=fail))
    only_rule(condition="broken", name="Broken")
    AlertRule.objects.create(name="Workers", condition="workers", threshold=1, subjects=["default"])

    evaluate_rules()

    assert Alert.objects.get().rule.name == "Workers"
    assert "one bad row" in caplog.text


def test_a_condition_of_other_code_is_not_checked():
    only_rule(condition="weather")

    assert evaluate_rules() == 0
    assert AlertRule.objects.get().evaluated_at is None


@pytest.mark.django_db(transaction=True)
def test_a_crash_before_the_commit_loses_and_repeats_nothing():
    only_rule()
    dies = OpenTransaction(evaluate_rules)
    assert evaluate_rules() == 0  # another process evaluates it now
    dies.roll_back()

    assert not Alert.objects.exists()
    assert evaluate_rules() == 1
    assert evaluate_after(minutes=1) == 0
    assert titles() == [FIRING]


@pytest.mark.django_db(transaction=True)
def test_several_processes_send_one_message():
    only_rule()

    assert sum(run_concurrently(6, evaluate_rules)) == 1
    assert titles() == [FIRING]


@pytest.mark.django_db(transaction=True)
def test_a_rule_that_is_evaluated_now_is_deleted_after_it():
    rule = only_rule()
    evaluation = OpenTransaction(evaluate_rules)
    deletion = run_until_blocked(lambda: alerts.delete(rule, actor=SYSTEM))
    evaluation.end()
    deletion.result(timeout=90)

    assert not AlertRule.objects.exists()
    assert not Alert.objects.exists()


def test_rules_exist_from_the_start():
    assert set(AlertRule.objects.values_list("condition", flat=True)) == set(CONDITIONS)
    assert not any(rule.recipients for rule in AlertRule.objects.all())
