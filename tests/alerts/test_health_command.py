"""`manage.py health`: one check from outside, with an exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import call_command

from taskqueue.engine.access.actor import SYSTEM
from taskqueue.engine.actions import alerts
from taskqueue.models import Alert, AlertRule
from taskqueue.testing import InProcessWorker
from tests.support.alerts import messages, only_rule
from tests.support.processes.processes import ROOT, free_port

pytestmark = pytest.mark.django_db

LINE = "FIRING Workers: default: No live worker that can claim takes queue default.\n"


def health(*arguments):
    """The exit code and the output."""
    out = StringIO()
    try:
        call_command("health", *arguments, stdout=out)
    except SystemExit as end:
        return end.code, out.getvalue()
    return 0, out.getvalue()


def test_what_holds_now_fires():
    only_rule(hold_for=timedelta(hours=1))

    assert health() == (1, LINE)
    code, text = health("--json")
    found = json.loads(text)
    assert (code, found["status"], found["error"]) == (1, "firing", None)
    assert found["alerts"] == [
        {
            "rule": "Workers",
            "condition": "workers",
            "subject": "default",
            "value": 0,
            "threshold": 1,
            "unit": "workers needed",
            "text": "No live worker that can claim takes queue default.",
            "silenced": False,
        }
    ]


def test_it_is_fine():
    only_rule()
    with InProcessWorker():
        assert health() == (0, "Fine: 1 condition checked.\n")
        assert json.loads(health("--json")[1]) == {"status": "ok", "alerts": [], "error": None}


def test_it_writes_and_sends_nothing():
    only_rule()
    health()

    assert not Alert.objects.exists()
    assert not messages().exists()
    assert AlertRule.objects.get().evaluated_at is None


def test_a_silenced_rule_is_named_and_does_not_count():
    rule = only_rule()
    alerts.silence(rule, datetime.now(UTC) + timedelta(hours=1), actor=SYSTEM)

    assert health() == (0, LINE.replace("FIRING", "SILENCED"))


def test_a_disabled_rule_is_not_checked():
    only_rule(is_enabled=False)

    assert health() == (0, "Fine: 0 conditions checked.\n")


def test_without_rules_the_default_ones_are_checked():
    AlertRule.objects.all().delete()

    code, text = health()
    assert code == 1
    assert "FIRING Live workers of a queue: default: No live worker" in text


@pytest.mark.process
def test_an_unreachable_database_is_unknown():
    database = f"postgres://shop:none@127.0.0.1:{free_port()}/none"
    env = {**os.environ, "DATABASE_URL": database, "DEBUG": "true"}
    ran = subprocess.run(
        [sys.executable, "manage.py", "health", "--json"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 2
    assert json.loads(ran.stdout)["status"] == "unknown"
    assert "The conditions cannot be checked: " in ran.stderr
    assert "Traceback" not in ran.stderr
