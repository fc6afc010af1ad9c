"""An event of a person or a token starts and cancels only what its sender may."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User

from taskqueue import emit
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.access.permissions import CallerPermissions
from taskqueue.engine.actions import tokens
from taskqueue.engine.actions.events import send_event
from taskqueue.engine.events import route, send
from taskqueue.models import Skip, Task
from tests.support.api import Api, grant
from tests.support.pipelines import orders as pipelines


@pytest.fixture
def sender(dana) -> Api:
    """A client whose token may send events and nothing else."""
    dana.user_permissions.set(Permission.objects.filter(codename__in=["add_event", "view_event"]))
    return Api(HTTP_AUTHORIZATION=f"Bearer {tokens.issue(dana, name='ci')[1]}")


REQUESTED: dict[str, Any] = {"name": "shop/order.requested", "data": {"number": "A1"}}
WITHDRAWN = {"name": "order/withdrawn", "data": {"number": "A1"}}


def kinds(body: dict[str, Any]) -> list[tuple[str, str]]:
    return [(skip["kind"], skip["reason"]) for skip in body["skips"]]


@pytest.mark.django_db(transaction=True)
def test_an_event_starts_no_pipeline_that_its_sender_may_not_run(sender, dana):
    grant(run=True)

    body = sender.post("/api/events", REQUESTED).json()

    assert (body["tasks"], Task.objects.count()) == ([], 0)
    assert kinds(body) == [("not-permitted", "The sender has no permission to run tasks of pipeline 'shop/order'.")]
    assert sender.get(f"/api/events/{body['id']}").json()["skips"] == body["skips"]
    grant(user=dana, run=True)
    assert len(sender.post("/api/events", REQUESTED).json()["tasks"]) == 1


@pytest.mark.django_db(transaction=True)
def test_an_event_cancels_no_task_that_its_sender_may_not_cancel(sender, dana):
    task = pipelines.approved.enqueue("A1")
    grant("approvals/wait", cancel=True)

    body = sender.post("/api/events", WITHDRAWN).json()

    assert body["cancelled"] == []
    assert kinds(body) == [
        ("not-permitted", "The sender has no permission to cancel tasks of pipeline 'approvals/wait': 1 task goes on.")
    ]
    grant("approvals/wait", user=dana, cancel=True)
    assert sender.post("/api/events", WITHDRAWN).json()["cancelled"] == [str(task.pk)]


@pytest.mark.django_db(transaction=True)
def test_the_admin_form_checks_pipeline_permissions_too(sender, in_admin):
    grant(run=True)

    page = in_admin.post(
        "/admin/taskqueue/event/send/",
        {"name": "shop/order.requested", "content": '{"number": "A1"}', "id": ""},
        follow=True,
    ).content.decode()

    assert "The sender has no permission to run tasks of pipeline" in page
    assert not Task.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_senders_permissions_hold_after_the_sender_is_deleted(dana, monkeypatch):
    grant(run=True)
    monkeypatch.setattr(send, "route_now", lambda _event: None)
    rights = CallerPermissions(dana)
    event = send_event(REQUESTED["name"], REQUESTED["data"], actor=Actor(dana.pk), rights=rights)
    dana.delete()

    route.route_pending()

    assert list(Skip.objects.filter(event=event).values_list("kind", flat=True)) == ["not-permitted"]
    assert not Task.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_code_and_superusers_start_every_pipeline(dana):
    grant(run=True)
    User.objects.filter(pk=dana.pk).update(is_superuser=True)
    by_superuser = Api(HTTP_AUTHORIZATION=f"Bearer {tokens.issue(dana, name='ci')[1]}")

    emit(REQUESTED["name"], {"number": "A1"})
    assert by_superuser.post("/api/events", REQUESTED).json()["skips"] == []

    assert Task.objects.count() == 2
