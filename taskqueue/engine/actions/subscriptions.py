"""Subscriptions: save, enable, disable, rotate the secret of and test them, each with an audit entry."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now

from taskqueue.engine.access.actor import SYSTEM, Actor
from taskqueue.engine.tasks.deliveries import deliver, text_of
from taskqueue.models import Subscription, Task
from taskqueue.webhooks.signatures import new_secret

FIELDS: Final = ("address", "description", "pipelines", "labels", "endings")
"""What callers set."""
OLD_SECRET_SIGNS: Final = timedelta(hours=24)
GIVE_UP_AFTER: Final = 5
"""Failed deliveries in a row, over `GIVE_UP_TIME` or longer, that disable a subscription."""
GIVE_UP_TIME: Final = timedelta(hours=24)


def save(subscription: Subscription, *, actor: Actor) -> None:
    """Check and write a new or changed subscription; it is sent what the actor may see from now on.

    Raises:
        django.core.exceptions.ValidationError: a value is not valid.
    """
    is_new = subscription.pk is None
    subscription.full_clean()
    subscription.user_id = actor.user
    with transaction.atomic():
        # Of a stored one only what callers change: a delivery may count a failure meanwhile.
        subscription.save(update_fields=None if is_new else [*FIELDS, "user"])
        actor.record(subscription, f"To {subscription.address}.", added=is_new)
    subscription.refresh_from_db()


def delete(subscription: Subscription, *, actor: Actor) -> None:
    """Delete a subscription. Its deliveries that have not been accepted yet fail."""
    with transaction.atomic():
        actor.record_deletion(subscription, f"To {subscription.address}.")
        subscription.delete()


def enable(subscription: Subscription, *, actor: Actor) -> bool:
    """Enable a subscription; False when it was enabled before."""
    values = {"disabled_at": None, "disabled_reason": "", "failures": 0, "failing_since": None}
    return change(subscription, "Enabled.", actor, values, disabled_at__isnull=False)


def disable(subscription: Subscription, reason: str = "", *, actor: Actor) -> bool:
    """Disable a subscription: it is not called until it is enabled again. False when it was disabled before.

    Args:
        reason: why; empty if the actor wants it.
    """
    reason = reason or f"Disabled by {actor.name}."
    values = {"disabled_at": Now(), "disabled_reason": reason[:300]}
    return change(subscription, f"Disabled. {reason}", actor, values, disabled_at__isnull=True)


def rotate(subscription: Subscription, *, actor: Actor) -> str:
    """Give a subscription a new secret and return it. The old one signs too for 24 hours."""
    secret = new_secret()
    values = {"old_secret": F("secret"), "old_secret_until": Now() + OLD_SECRET_SIGNS, "secret": secret}
    change(subscription, "Secret rotated.", actor, values)
    return secret


def change(subscription: Subscription, message: str, actor: Actor, values: dict[str, Any], **condition: bool) -> bool:
    with transaction.atomic():
        is_changed = bool(Subscription.objects.filter(pk=subscription.pk, **condition).update(**values))
        if is_changed:
            actor.record(subscription, message)
    return is_changed


def send_test(subscription: Subscription, *, actor: Actor) -> Task:
    """Enqueue the delivery of a test event, also to a disabled subscription."""
    now = Subscription.objects.filter(pk=subscription.pk).values_list(Now(), flat=True).get()
    event = {"type": "webhook.test", "timestamp": text_of(now), "data": {"subscription": subscription.pk}}
    with transaction.atomic():
        task = deliver(event, subscription=subscription, is_test=True)
        actor.record(subscription, "Test event sent.")
    return task


def record_success(subscription: Subscription) -> None:
    """End a row of failures. Most deliveries find none, and write nothing."""
    if subscription.failures:
        Subscription.objects.filter(pk=subscription.pk).update(failures=0, failing_since=None)


def record_failure(subscription: int) -> None:
    """Count a failed delivery, and disable the subscription if all of them have failed for too long."""
    Subscription.objects.filter(pk=subscription).update(
        failures=F("failures") + 1, failing_since=Coalesce("failing_since", Now())
    )
    failing = Subscription.objects.filter(pk=subscription, failures__gte=GIVE_UP_AFTER)
    found = failing.filter(failing_since__lte=Now() - GIVE_UP_TIME).first()
    if found is not None:
        reason = f"Its last {found.failures} deliveries have failed, the first {GIVE_UP_TIME.days} day or longer ago."
        disable(found, reason, actor=SYSTEM)
