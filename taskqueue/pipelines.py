"""The pipelines of taskqueue itself: a request to a subscriber, or a message about an alert, is a task with retries."""

from __future__ import annotations

import http.client
import json
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, cast

from django.core.mail import EmailMessage
from django.db import connection
from pydantic import Field

from taskqueue.authoring import Permanent, Retry, RetryAfter, TaskEnded, current_task, pipeline, step
from taskqueue.conf import settings
from taskqueue.definitions import ALERT, DELIVERY
from taskqueue.engine.access.actor import SYSTEM
from taskqueue.engine.actions import subscriptions
from taskqueue.engine.tracing import current_traceparent
from taskqueue.models import Subscription
from taskqueue.models.alert import MAIL, SLACK
from taskqueue.webhooks.addresses import RefusedAddress
from taskqueue.webhooks.sending import Answer, post
from taskqueue.webhooks.signatures import signed_headers

RETRY: Final = Retry(
    waits=(
        timedelta(seconds=5),
        timedelta(minutes=5),
        timedelta(minutes=30),
        timedelta(hours=2),
        timedelta(hours=6),
        timedelta(hours=15, minutes=25),
    )
)
ALERT_RETRY: Final = Retry(
    waits=(
        timedelta(seconds=5),
        timedelta(seconds=30),
        timedelta(minutes=2),
        timedelta(minutes=10),
        timedelta(minutes=30),
        timedelta(hours=1),
    )
)
"""An alert that arrives later than that says nothing of now."""
LONGEST_WAIT: Final = timedelta(hours=24)
BACKSTOP: Final = timedelta(minutes=1)
"""For a name server that does not answer; the request itself has a shorter timeout."""


class DeliveryFailed(Exception):
    """A receiver has not accepted a delivery."""


@step(retry=RETRY, timeout=BACKSTOP)
def post_event(subscription: int | None, address: str, event: dict[str, Any], *, is_test: bool) -> str:
    """Send one request; returns the answer's status.

    Raises:
        Permanent: the receiver is gone, or the subscription was deleted or disabled.
        RetryAfter, DeliveryFailed: it is sent again later.
    """
    now = database_time()
    found = None if subscription is None else enabled_subscription(subscription, is_test=is_test)
    secrets = settings().WEBHOOKS_SECRET.split() if found is None else found.secrets_at(now)
    return judged(found, post_json(address if found is None else found.address, event, now, secrets))


def post_json(address: str, content: dict[str, Any], now: datetime, secrets: list[str] | None) -> Answer:
    """Post JSON, signed with these secrets; without headers of a signature for None.

    Raises:
        DeliveryFailed: there was no answer.
    """
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    headers = signed_headers(str(current_task().id), int(now.timestamp()), body, secrets) if secrets is not None else {}
    if traceparent := current_traceparent():
        headers = {**headers, "traceparent": traceparent}
    try:
        return post(address, body, headers, allow_private=settings().WEBHOOKS_ALLOW_PRIVATE)
    except (RefusedAddress, OSError, http.client.HTTPException) as error:
        raise DeliveryFailed(f"{type(error).__name__}: {error}") from error


def database_time() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        [now] = cursor.fetchone()
    return cast("datetime", now)


def enabled_subscription(number: int, *, is_test: bool) -> Subscription:
    """A subscription that may be called.

    Raises:
        Permanent
    """
    found = Subscription.objects.filter(pk=number).first()
    if found is None:
        raise Permanent("The subscription was deleted.")
    if found.disabled_at is not None and not is_test:
        raise Permanent(f"The subscription is disabled. {found.disabled_reason}".strip())
    return found


def judged(subscription: Subscription | None, answer: Answer) -> str:
    """The status of an accepted delivery.

    Raises:
        Permanent, RetryAfter, DeliveryFailed: it was not accepted.
    """
    line = f"HTTP {answer.status} {answer.reason}".strip()
    if http.client.OK <= answer.status < http.client.MULTIPLE_CHOICES:
        if subscription is not None:
            subscriptions.record_success(subscription)
        return line
    if answer.status == http.client.GONE:
        if subscription is not None:
            subscriptions.disable(subscription, "Its receiver answered 410 Gone.", actor=SYSTEM)
        raise Permanent(f"{line}: the receiver wants no more calls.")
    if http.client.MULTIPLE_CHOICES <= answer.status < http.client.BAD_REQUEST:
        raise DeliveryFailed(f"{line}: redirects are not followed (to {answer.location or 'nowhere'}).")
    text = f"{line}: {answer.text}" if answer.text else line
    if answer.status in {http.client.TOO_MANY_REQUESTS, http.client.SERVICE_UNAVAILABLE} and answer.retry_after:
        delay = min(timedelta(seconds=answer.retry_after), LONGEST_WAIT)
        raise RetryAfter(delay, text, hold=False)
    raise DeliveryFailed(text)


@pipeline(DELIVERY, retry=Retry.never())
def deliver_webhook(
    event: dict[str, Any], *, subscription: int | None = None, address: str = "", is_test: bool = False
) -> str:
    """Sends an event to a subscriber or a callback URL. taskqueue itself makes its tasks, when a task has ended."""
    return post_event(subscription, address, event, is_test=is_test)


@deliver_webhook.on_failure
def count_failure(ended: TaskEnded) -> None:
    """Counts failed deliveries, and disables a subscription of which all have failed for a day."""
    if ended.payload["subscription"] is not None and not ended.payload["is_test"]:
        record_failure(ended.payload["subscription"])


@step.atomic
def record_failure(subscription: int) -> None:
    """Count it, once."""
    subscriptions.record_failure(subscription)


@step(retry=ALERT_RETRY, timeout=BACKSTOP)
def send_alert(channel: str, address: str, title: str, text: str, event: dict[str, Any]) -> str:
    """Send a message about alerts to one recipient; returns what the receiver answered.

    Raises:
        Permanent: the receiver is gone.
        RetryAfter, Exception: it is sent again later.
    """
    if channel == MAIL:
        # One id for all attempts, so that mail programs show a message that was sent twice once.
        headers = {"Message-ID": f"<{current_task().id}@taskqueue>"}
        EmailMessage(title, text, to=[address], headers=headers).send()
        return "sent"
    is_slack = channel == SLACK
    secrets = None if is_slack else settings().WEBHOOKS_SECRET.split()
    return judged(None, post_json(address, {"text": text} if is_slack else event, database_time(), secrets))


@pipeline(ALERT, retry=Retry.never())
def deliver_alert(
    channel: str,
    address: Annotated[str, Field(json_schema_extra={"secret": True})],
    title: str,
    text: str,
    event: dict[str, Any],
) -> str:
    """Sends a message about alerts to one recipient. taskqueue itself makes its tasks, when an alert changes."""
    return send_alert(channel, address, title, text, event)
