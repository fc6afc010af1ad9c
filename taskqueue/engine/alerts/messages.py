"""Messages about alerts: a task for each recipient, in the transaction that changes the alerts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from xml.sax.saxutils import escape

from taskqueue.conf import settings
from taskqueue.definitions import ALERT, registry
from taskqueue.engine.alerts.conditions import CONDITIONS
from taskqueue.engine.enqueue.enqueue import insert
from taskqueue.engine.enqueue.options import Options
from taskqueue.engine.tasks.deliveries import text_of
from taskqueue.errors import TooLarge
from taskqueue.models import Alert, AlertRule
from taskqueue.models.alert import SLACK

LABEL: Final = "alert-rule"
"""The label of a message, with the id of its rule."""
LISTED: Final = 20
"""How many alerts a message lists."""


def notify(
    rule: AlertRule, firing: Sequence[Alert], resolved: Sequence[Alert], *, now: datetime, is_test: bool = False
) -> int:
    """Enqueue one message about these alerts to each recipient of a rule; how many."""
    title = title_of(rule, firing, resolved, is_test=is_test)
    text = text_about(firing, resolved) or "This is a test: nothing fires."
    event = event_of(rule, firing, resolved, now, is_test=is_test)
    recipients = rule.recipients
    for channel, address in recipients:
        body = f"*{escape(title)}*\n{escape(text)}" if channel == SLACK else text
        message = {"channel": channel, "address": address, "title": title, "text": body, "event": event}
        try:
            enqueue(message, rule)
        except TooLarge:
            # The setting PAYLOAD_MAX_BYTES is very low. An error here would end each evaluation of the rule.
            enqueue({**message, "text": title, "event": without_alerts(event)}, rule)
    return len(recipients)


def enqueue(message: dict[str, Any], rule: AlertRule) -> None:
    definition = registry.get(ALERT)
    insert(definition, definition.payload.check(message), options=Options(labels={LABEL: str(rule.pk)}))


def title_of(rule: AlertRule, firing: Sequence[Alert], resolved: Sequence[Alert], *, is_test: bool) -> str:
    """One line, such as `Firing: Failure rate, shop/order`."""
    state = "Test" if is_test else "Firing" if firing else "Resolved"
    alerts = firing or resolved
    about = f", {alerts[0].subject}" if len(alerts) == 1 and alerts[0].subject else ""
    number = f" ({len(alerts)})" if len(alerts) > 1 else ""
    return " ".join(f"{state}: {rule}{about}{number}".split())


def without_alerts(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "data": {**event["data"], "alerts": []}}


def text_about(firing: Sequence[Alert], resolved: Sequence[Alert]) -> str:
    lines = [firing_line(alert) for alert in firing[:LISTED]] + [resolved_line(alert) for alert in resolved[:LISTED]]
    left_out = len(firing) + len(resolved) - len(lines)
    return "\n".join([*lines, f"And {left_out} more."] if left_out else lines)


def firing_line(alert: Alert) -> str:
    subject = f"{alert.subject}: " if alert.subject else ""
    return f"FIRING {subject}{alert.text} Since {time_of(alert)}. {address_of(alert)}".rstrip()


def resolved_line(alert: Alert) -> str:
    subject = f" {alert.subject}" if alert.subject else ""
    return f"RESOLVED{subject}. It fired at {time_of(alert)}: {alert.text} {address_of(alert)}".rstrip()


def time_of(alert: Alert) -> str:
    return f"{alert.firing_since:%Y-%m-%d %H:%M} UTC"


def address_of(alert: Alert) -> str:
    """The admin page behind an alert; empty without the setting ADMIN_URL."""
    base = settings().ADMIN_URL
    return f"{base.rstrip('/')}/taskqueue/{alert.link}" if base else ""


def event_of(
    rule: AlertRule, firing: Sequence[Alert], resolved: Sequence[Alert], now: datetime, *, is_test: bool
) -> dict[str, Any]:
    """What plain webhooks get: an object of Standard Webhooks with type, timestamp and data."""
    state = "test" if is_test else "firing" if firing else "resolved"
    alerts = [(each, "firing") for each in firing[:LISTED]] + [(each, "resolved") for each in resolved[:LISTED]]
    return {
        "type": f"alert.{state}",
        "timestamp": text_of(now),
        "data": {
            "rule": rule.name,
            "condition": rule.condition,
            "threshold": rule.threshold,
            "unit": CONDITIONS[rule.condition].unit,
            "firing": len(firing),
            "resolved": len(resolved),
            "alerts": [
                {
                    "subject": alert.subject,
                    "state": each_state,
                    "value": alert.value,
                    "text": alert.text,
                    "since": text_of(alert.firing_since),
                    "url": address_of(alert) or None,
                }
                for alert, each_state in alerts
            ],
        },
    }
