"""Messages about alerts: mail, chats that take Slack's JSON, and signed webhooks."""

from __future__ import annotations

import pytest

from taskqueue.engine.access.actor import SYSTEM
from taskqueue.engine.actions import alerts
from taskqueue.engine.alerts.evaluate import evaluate_rules
from taskqueue.engine.alerts.messages import notify
from taskqueue.models import Alert, Attempt
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.alerts import evaluate_after, messages, only_rule
from tests.support.mail import mail_receiver, use_mail_server
from tests.support.receivers import is_signed_with, receiver, status

pytestmark = pytest.mark.django_db(transaction=True)

TEXT = "default: No live worker that can claim takes queue default. Since "


def test_alerts_are_mailed(settings):
    settings.TASKQUEUE = {**settings.TASKQUEUE, "ADMIN_URL": "https://tasks.example.com/admin"}
    with mail_receiver() as server:
        use_mail_server(settings, server)
        only_rule(mail_addresses="ops@example.com\n\n  lea@example.com\nops@example.com")
        evaluate_rules()
        work()

    assert [recipients for recipients, _message in server.messages] == [["ops@example.com"], ["lea@example.com"]]
    _recipients, message = server.messages[0]
    assert message["Subject"] == "Firing: Workers, default"
    assert message["From"] == "taskqueue@example.com"
    assert message["Message-ID"] == f"<{messages()[0].pk}@taskqueue>"
    assert message.get_content().startswith(f"FIRING {TEXT}")
    assert message.get_content().strip().endswith("UTC. https://tasks.example.com/admin/taskqueue/worker/")


def test_mail_that_is_refused_is_sent_again(settings):
    with mail_receiver(refusals=1) as server:
        use_mail_server(settings, server)
        only_rule()
        evaluate_rules()
        work()
        assert server.messages == []
        advance(minutes=1)
        work()

    assert len(server.messages) == 1
    assert messages().get().status == "succeeded"
    assert "SMTPDataError" in Attempt.objects.values_list("error_type", flat=True)[0]


@pytest.mark.usefixtures("private_receivers")
def test_a_chat_gets_a_text():
    with receiver() as server:
        only_rule(mail_addresses="", slack_addresses=server.address, name="Workers <of> default")
        evaluate_rules()
        work()

    (request,) = server.requests
    assert request.event["text"].startswith(f"*Firing: Workers &lt;of&gt; default, default*\nFIRING {TEXT}")
    assert set(request.event) == {"text"}
    assert "webhook-signature" not in request.headers


def test_a_webhook_is_signed(private_receivers):
    with receiver() as server:
        rule = only_rule(mail_addresses="", webhook_addresses=server.address)
        evaluate_rules()
        with InProcessWorker():
            evaluate_after(minutes=1)
        work()

    firing, resolved = (request.event for request in server.requests)
    assert all(is_signed_with(request, private_receivers) for request in server.requests)
    assert (firing["type"], resolved["type"]) == ("alert.firing", "alert.resolved")
    assert firing["data"]["rule"] == rule.name
    assert (firing["data"]["condition"], firing["data"]["threshold"]) == ("workers", 1)
    (alert,) = firing["data"]["alerts"]
    assert (alert["subject"], alert["state"], alert["value"], alert["url"]) == ("default", "firing", 0, None)
    assert messages()[1].payload["text"].startswith("RESOLVED default. It fired at ")
    assert resolved["data"]["alerts"][0]["state"] == "resolved"


@pytest.mark.usefixtures("private_receivers")
def test_a_failed_message_is_sent_again_under_one_id():
    with receiver(status(500), status(204)) as server:
        only_rule(mail_addresses="", webhook_addresses=server.address)
        evaluate_rules()
        work()
        advance(minutes=1)
        work()

    first, second = server.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == str(messages().get().pk)


@pytest.mark.usefixtures("private_receivers")
def test_one_recipient_that_fails_stops_no_other():
    with receiver(status(404)) as broken, receiver() as fine:
        only_rule(mail_addresses="", slack_addresses=f"{broken.address}\n{fine.address}")
        evaluate_rules()
        work()

    assert len(fine.requests) == 1
    assert [task.status for task in messages()] == ["retrying", "succeeded"]


def test_many_alerts_are_one_message():
    rule = only_rule()
    now = rule.created_at
    firing = [Alert(rule=rule, subject=f"q{number}", text="Late.", firing_since=now) for number in range(25)]

    notify(rule, firing, [], now=now)

    payload = messages().get().payload
    assert payload["title"] == "Firing: Workers (25)"
    assert payload["text"].splitlines()[-1] == "And 5 more."
    assert payload["event"]["data"]["firing"] == 25
    assert len(payload["event"]["data"]["alerts"]) == 20


def test_a_message_that_no_payload_can_hold_is_reduced(settings):
    settings.TASKQUEUE = {**settings.TASKQUEUE, "PAYLOAD_MAX_BYTES": 900}
    rule = only_rule()
    firing = [Alert(rule=rule, subject="q", text="Late. " * 80, value=1, firing_since=rule.created_at)]

    notify(rule, firing, [], now=rule.created_at)

    payload = messages().get().payload
    assert payload["title"] == payload["text"] == "Firing: Workers, q"
    assert (payload["event"]["data"]["firing"], payload["event"]["data"]["alerts"]) == (1, [])


def test_a_test_goes_to_all_recipients_of_a_disabled_rule(settings):
    rule = only_rule(is_enabled=False, mail_addresses="a@example.com\nb@example.com")

    assert alerts.send_test(rule, actor=SYSTEM) == 2
    assert [task.payload["title"] for task in messages()] == ["Test: Workers"] * 2


def test_a_message_about_alerts_makes_no_webhook():
    only_rule()
    evaluate_rules()

    assert messages().get().notify_completion is False
