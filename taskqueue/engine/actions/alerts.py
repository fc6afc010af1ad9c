"""Alert rules: save, delete, silence and test them, each with an audit entry."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models.functions import Now

from taskqueue.engine.access.actor import Actor
from taskqueue.engine.alerts.conditions import CONDITIONS
from taskqueue.engine.alerts.messages import notify
from taskqueue.models import AlertRule
from taskqueue.models.alert import RECIPIENTS

FIELDS: Final = (
    "name", "condition", "threshold", "subjects", "hold_for", "repeat_every", *RECIPIENTS.values(), "is_enabled",
)  # fmt: skip
"""What people set."""


def save(rule: AlertRule, *, actor: Actor) -> None:
    """Check and write a new or changed rule. Alerts of another condition, or of a disabled rule, are forgotten.

    Raises:
        django.core.exceptions.ValidationError: a value is not valid.
    """
    rule.full_clean()
    if rule.condition not in CONDITIONS:
        raise ValidationError({"condition": f"Choose one of: {', '.join(CONDITIONS)}."})
    is_new = rule.pk is None
    with transaction.atomic():
        before = lock(rule)
        rule.save(update_fields=None if is_new else FIELDS)
        if before is not None and (before.condition != rule.condition or not rule.is_enabled):
            rule.alerts.all().delete()
        actor.record(rule, "Added." if is_new else "Changed.", added=is_new)


def delete(rule: AlertRule, *, actor: Actor) -> None:
    """Delete a rule with its alerts."""
    with transaction.atomic():
        lock(rule)
        actor.record_deletion(rule, "Deleted.")
        rule.delete()


def lock(rule: AlertRule) -> AlertRule | None:
    """Wait for an evaluation that goes on now, which writes alerts; the stored rule, None for a new one."""
    return AlertRule.objects.select_for_update(no_key=True).filter(pk=rule.pk).first()


def silence(rule: AlertRule, until: datetime, reason: str = "", *, actor: Actor) -> None:
    """Send no messages of a rule until a time. It is still checked, and what fires is still shown.

    Args:
        until: an aware datetime.
        reason: why, for others to read.
    """
    values = {"silenced_until": until, "silenced_by": actor.name[:150], "silence_reason": reason[:300]}
    change(rule, f"Silenced until {until:%Y-%m-%d %H:%M} UTC. {reason}".strip(), actor, values)


def end_silence(rule: AlertRule, *, actor: Actor) -> bool:
    """Send messages of a rule again; False when it was not silenced. What fires and was not sent is sent next."""
    values = {"silenced_until": None, "silenced_by": "", "silence_reason": ""}
    return change(rule, "Silence ended.", actor, values, silenced_until__gt=Now())


def change(rule: AlertRule, message: str, actor: Actor, values: dict[str, Any], **condition: Any) -> bool:
    with transaction.atomic():
        is_changed = bool(AlertRule.objects.filter(pk=rule.pk, **condition).update(**values))
        if is_changed:
            actor.record(rule, message)
    return is_changed


def send_test(rule: AlertRule, *, actor: Actor) -> int:
    """Enqueue a test message to each recipient, also of a rule that is disabled or silenced; how many."""
    now = AlertRule.objects.filter(pk=rule.pk).values_list(Now(), flat=True).get()
    with transaction.atomic():
        count = notify(rule, [], [], now=now, is_test=True)
        if count:
            actor.record(rule, "Test message sent.")
    return count
