"""Alert rules of tests, and how time passes for them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import F, QuerySet

from taskqueue.definitions import ALERT
from taskqueue.engine.alerts.evaluate import evaluate_rules
from taskqueue.models import Alert, AlertRule, Task

MAILED = "ops@example.com"


def only_rule(**values: Any) -> AlertRule:
    """The only rule. By default it fires at once when no live worker takes the queue `default`."""
    AlertRule.objects.all().delete()
    defaults = {"name": "Workers", "condition": "workers", "threshold": 1, "subjects": ["default"]}
    return AlertRule.objects.create(**{**defaults, "mail_addresses": MAILED, **values})


def evaluate_after(**time: float) -> int:
    """Let time pass for all rules and alerts, and evaluate them; how many messages were enqueued."""
    passed = timedelta(**time)
    AlertRule.objects.update(
        evaluated_at=F("evaluated_at") - passed - timedelta(minutes=1), silenced_until=F("silenced_until") - passed
    )
    Alert.objects.update(
        pending_since=F("pending_since") - passed,
        firing_since=F("firing_since") - passed,
        notified_at=F("notified_at") - passed,
    )
    return evaluate_rules()


def messages() -> QuerySet[Task]:
    """The tasks that send messages about alerts, the oldest first."""
    return Task.objects.filter(pipeline=ALERT).order_by("pk")


def titles() -> list[str]:
    return [task.payload["title"] for task in messages()]
