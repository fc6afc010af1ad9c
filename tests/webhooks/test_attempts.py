"""Attempts of a delivery: what each kind of answer leads to, and when a subscription is disabled."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue import Permanent, Retry, pipeline, step
from taskqueue.engine.access.actor import SYSTEM
from taskqueue.engine.actions import subscriptions
from taskqueue.models import Attempt, Subscription
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.receivers import is_signed_with, receiver, status
from tests.support.subscriptions import deliveries, subscribe

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("private_receivers")]


@step(retry=Retry.never())
def fail() -> None:
    raise Permanent("no paper left")


@pipeline("hooks/attempted")
def fails() -> None:
    fail()


def test_attempts_have_the_same_id_and_each_its_timestamp():
    with receiver(status(500, "try later"), status(200)) as server:
        subscription = subscribe(server.address)
        fails.enqueue()
        work()
        assert deliveries().get().status == "retrying"
        advance(seconds=10)
        work()

    first, second = server.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert int(first.headers["webhook-timestamp"]) <= int(second.headers["webhook-timestamp"])
    assert first.body == second.body
    assert all(is_signed_with(request, subscription.secret) for request in server.requests)
    assert Attempt.objects.get(task=deliveries().get()).error_message == "HTTP 500 Internal Server Error: try later"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (status(301, Location="http://10.0.0.1/"), "redirects are not followed (to http://10.0.0.1/)"),
        (status(404, "no such hook"), "HTTP 404 Not Found: no such hook"),
        (status(503), "HTTP 503 Service Unavailable"),
    ],
)
def test_other_answers_are_retried(answer, message):
    with receiver(answer) as server:
        subscribe(server.address)
        fails.enqueue()
        work()

    assert deliveries().get().status == "retrying"
    assert message in Attempt.objects.get(task=deliveries().get()).error_message


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_respected(code):
    with receiver(status(code, Retry_After="3600"), status(200)) as server:
        subscribe(server.address)
        fails.enqueue()
        work()
        advance(minutes=50)
        work()
        assert len(server.requests) == 1
        advance(minutes=20)
        work()

    assert len(server.requests) == 2
    assert deliveries().get().status == "succeeded"


def test_gone_disables_the_subscription():
    with receiver(status(410)) as server:
        subscription = subscribe(server.address)
        fails.enqueue()
        work()

    subscription.refresh_from_db()
    assert subscription.disabled_at is not None
    assert subscription.disabled_reason == "Its receiver answered 410 Gone."
    assert deliveries().get().status == "failed"


def test_a_private_address_is_not_called(settings):
    with receiver() as server:
        subscribe(f"https://localhost:{server.port}/hook")
        settings.TASKQUEUE = {**settings.TASKQUEUE, "WEBHOOKS_ALLOW_PRIVATE": False}
        fails.enqueue()
        work()

    assert server.requests == []
    assert "not a public address" in Attempt.objects.get(task=deliveries().get()).error_message


def test_deliveries_to_a_disabled_or_deleted_subscription_fail():
    with receiver() as server:
        disabled, deleted = subscribe(server.address), subscribe(server.address)
        fails.enqueue()
        with InProcessWorker() as worker:
            worker.work(budget=timedelta(0))
            subscriptions.disable(disabled, "Enough.", actor=SYSTEM)
            deleted.delete()
            worker.work()

    assert server.requests == []
    assert [each.error["message"] for each in deliveries()] == [
        "The subscription is disabled. Enough.",
        "The subscription was deleted.",
    ]


def test_failures_for_a_day_disable_the_subscription():
    subscription = subscribe()
    for _ in range(5):
        subscriptions.record_failure(subscription.pk)
    subscription.refresh_from_db()
    assert (subscription.failures, subscription.disabled_at) == (5, None)

    Subscription.objects.update(failing_since=subscription.failing_since - timedelta(days=1))
    subscriptions.record_failure(subscription.pk)

    subscription.refresh_from_db()
    assert subscription.disabled_at is not None
    assert subscription.disabled_reason == "Its last 6 deliveries have failed, the first 1 day or longer ago."


def test_failed_deliveries_are_counted_and_an_accepted_one_ends_the_row():
    with receiver(status(500)) as server:
        subscription = subscribe(server.address)
        fails.enqueue()
        for _ in range(8):
            work()
            advance(hours=20)
        work()
        subscription.refresh_from_db()
        assert len(server.requests) == 7
        assert deliveries().get().status == "failed"
        assert subscription.failures == 1

        server.answers = [status(200)]
        fails.enqueue()
        work()

    subscription.refresh_from_db()
    assert (subscription.failures, subscription.failing_since) == (0, None)


def test_both_secrets_sign_after_a_rotation():
    with receiver() as server:
        subscription = subscribe(server.address)
        new = subscriptions.rotate(subscription, actor=SYSTEM)
        fails.enqueue()
        work()
        Subscription.objects.update(old_secret_until="2020-01-01T00:00:00Z")
        fails.enqueue()
        work()

    signed = [[is_signed_with(request, secret) for secret in (subscription.secret, new)] for request in server.requests]
    assert signed == [[True, True], [False, True]]


def test_a_test_event_is_sent_to_a_disabled_subscription_too():
    with receiver() as server:
        subscription = subscribe(server.address, disabled_at="2020-01-01T00:00:00Z")
        subscriptions.send_test(subscription, actor=SYSTEM)
        work()

    assert server.requests[0].event["type"] == "webhook.test"
    assert server.requests[0].event["data"] == {"subscription": subscription.pk}
