"""Deliveries: a task for each subscription that an ended task matches, in the transaction that completes the task."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from datetime import datetime
from typing import Any, Final

from django.db.models import BooleanField, Func, Value

from taskqueue.definitions import DELIVERY, INTERNAL, registry
from taskqueue.engine.access import redaction
from taskqueue.engine.access.permissions import CallerPermissions, Visibility
from taskqueue.engine.enqueue.enqueue import insert
from taskqueue.engine.enqueue.options import Options, subject_of
from taskqueue.errors import TooLarge
from taskqueue.json_values import codec
from taskqueue.models import Subscription, Task
from taskqueue.states import TaskStatus

RESULT_MAX_BYTES: Final = 64 * 1024
LABEL: Final = "subscription"
"""The label of a delivery, with the id of its subscription."""
CALLBACK_LABEL: Final = "callback"
"""The label of the delivery to a callback URL, with the id of the ended task."""
NO_LABELS: Final[Mapping[str, str]] = {}


def create_deliveries(task: Task) -> None:
    """Enqueue a delivery for each enabled subscription that matches an ended task, and one for its callback.

    The end of a delivery is not delivered.
    """
    if task.pipeline_id in INTERNAL:
        return
    for subscription in matching(task):
        deliver_reduced(event_for(subscription, task), subscription=subscription)
    if task.callback_url:
        event = event_of(redaction.copy_without_secrets(task))
        deliver_reduced(event, address=task.callback_url, labels={CALLBACK_LABEL: str(task.pk)})


def deliver_reduced(event: dict[str, Any], **receiver: Any) -> None:
    """Enqueue a delivery, of an event that is larger than a payload may be without what makes it large."""
    try:
        deliver(event, **receiver)
    except TooLarge:
        # Else the sweep would fail for ever.
        reduced: dict[str, Any] = {"result": None, "result_omitted": True, "error": None, "labels": {}}
        deliver({**event, "data": {**event["data"], **reduced}}, **receiver)


def matching(task: Task) -> list[Subscription]:
    covers = Func("pipelines", Value(task.pipeline_id), function="taskqueue_covers", output_field=BooleanField())
    enabled = Subscription.objects.filter(covers, disabled_at=None, labels__contained_by=task.labels)
    return list(enabled.filter(endings__contains=[task.status]).select_related("user").order_by("pk"))


def deliver(
    event: dict[str, Any],
    *,
    subscription: Subscription | None = None,
    address: str = "",
    labels: Mapping[str, str] = NO_LABELS,
    is_test: bool = False,
) -> Task:
    """Enqueue the delivery of an event to a subscription, or to an address that is none.

    Args:
        labels: of the delivery to an address; one to a subscription has the subscription's id.
        is_test: send it to a disabled subscription too.
    """
    definition = registry.get(DELIVERY)
    number, subject = (None, "") if subscription is None else (subscription.pk, subject_of(subscription))
    values = {"subscription": number, "address": address, "event": event, "is_test": is_test}
    options = Options(labels=labels if number is None else {LABEL: str(number)}, subject=subject)
    return insert(definition, definition.payload.check(values), options=options)


def event_for(subscription: Subscription, task: Task) -> dict[str, Any]:
    """The event of an ended task without its secrets, and without its values where the user may not see any."""
    shown = redaction.copy_without_secrets(task)
    if CallerPermissions(subscription.user).visibility(task.pipeline_id) == Visibility.NONE:
        shown = copy(shown)
        redaction.redact_rows(shown, [], [], Visibility.NONE)
    return event_of(shown)


def event_of(task: Task) -> dict[str, Any]:
    """What receivers get: an object of Standard Webhooks with type, timestamp and data."""
    is_large = len(codec.write(task.result).encode()) > RESULT_MAX_BYTES
    cancelled = {"type": "Cancelled", "message": task.cancel_reason, "step": None}
    return {
        "type": f"task.{task.status}",
        "timestamp": text_of(task.finished_at),
        "data": {
            "task": str(task.pk),
            "pipeline": task.pipeline_id,
            "status": task.status,
            "labels": task.labels,
            "key": task.key,
            "result": None if is_large else task.result,
            "result_omitted": is_large,
            "error": task.error or (cancelled if task.status == TaskStatus.CANCELLED else None),
            "created_at": text_of(task.created_at),
            "started_at": text_of(task.started_at),
            "finished_at": text_of(task.finished_at),
        },
    }


def text_of(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
