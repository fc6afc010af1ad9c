"""A real worker command checks alert rules and sends the mail."""

from __future__ import annotations

import pytest

from taskqueue.models import AlertRule
from tests.support.alerts import only_rule
from tests.support.mail import mail_receiver
from tests.support.waiting import eventually

pytestmark = pytest.mark.process


def test_a_worker_mails_that_a_rule_fires_and_that_it_is_resolved(start):
    with mail_receiver() as server:
        only_rule(threshold=99)
        start(processes=1, environment={"EMAIL_URL": f"smtp://127.0.0.1:{server.port}"})
        eventually(lambda: len(server.messages) == 1)
        AlertRule.objects.update(threshold=1, evaluated_at=None)
        eventually(lambda: len(server.messages) == 2)

    firing, resolved = (message for _recipients, message in server.messages)
    assert firing["Subject"] == "Firing: Workers, default"
    assert "Only 1 live worker that can claim takes queue default." in firing.get_content()
    assert resolved["Subject"] == "Resolved: Workers, default"
