"""Subscriptions of tests, and the tasks that deliver to them."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from taskqueue.definitions import DELIVERY
from taskqueue.models import Subscription, Task


def subscribe(address: str = "https://example.com/hook", **values: Any) -> Subscription:
    """A subscription to the ends of all tasks, unless the values say otherwise."""
    return Subscription.objects.create(address=address, **values)


def deliveries() -> QuerySet[Task]:
    """All deliveries, the oldest first."""
    return Task.objects.filter(pipeline=DELIVERY).order_by("pk")
