"""A caller's `traceparent` is kept with the tasks and events that its request creates."""

from __future__ import annotations

import pytest

from taskqueue.models import Event, Task
from taskqueue.testing import work
from tests.support.api import BODY
from tests.support.receivers import receiver
from tests.support.subscriptions import deliveries, subscribe

pytestmark = pytest.mark.django_db(transaction=True)
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/tasks", BODY),
        ("/api/tasks", {**BODY, "key": "K"}),
        ("/api/tasks/batch", {"tasks": [BODY, {**BODY, "key": "K"}]}),
        ("/api/events", {"name": "demo/task.requested", "data": {}}),
    ],
)
def test_a_request_gives_its_trace_to_its_tasks(api, path, body):
    assert api.post(path, body, traceparent=CALLER).status_code == 202

    assert set(Task.objects.values_list("traceparent", flat=True)) == {CALLER}
    assert set(Event.objects.values_list("traceparent", flat=True)) <= {CALLER}


@pytest.mark.parametrize("given", ["", "nonsense", CALLER.upper(), "00-" + "0" * 32 + CALLER[35:], CALLER + "\n"])
def test_an_invalid_trace_is_ignored(api, given):
    assert api.post("/api/tasks", BODY, traceparent=given).status_code == 202

    assert Task.objects.get().traceparent == ""


def test_a_delivery_sends_the_trace_of_its_task(api, settings):
    settings.TASKQUEUE = {**settings.TASKQUEUE, "WEBHOOKS_ALLOW_PRIVATE": True}
    with receiver() as received:
        subscribe(received.address)
        api.post("/api/tasks", {**BODY, "pipeline": "shop/order"}, traceparent=CALLER)
        work()

    assert deliveries().get().traceparent == CALLER
    assert [request.headers["traceparent"] for request in received.requests] == [CALLER]
