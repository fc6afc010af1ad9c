"""Permissions of single pipelines, in the API and in the admin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.db import IntegrityError, transaction

from taskqueue import pipeline as define
from taskqueue.definitions import INTERNAL
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.access.permissions import Action, CallerPermissions, Visibility
from taskqueue.engine.actions import tokens
from taskqueue.engine.tasks import control
from taskqueue.models import Event, Pipeline, PipelinePermission, Step, Task
from taskqueue.testing import work
from tests.support.api import BODY, Api, enqueue_order, grant, problem_of
from tests.support.pipelines.orders import Order, order
from tests.support.registries import own_registry

ACTION_PATHS = {
    Action.RUN: ("/api/tasks", "/api/tasks/{id}/rerun"),
    Action.RETRY: ("/api/tasks/{id}/retry",),
    Action.CANCEL: ("/api/tasks/{id}/cancel",),
}
ACTIONS = [(action, path) for action, paths in ACTION_PATHS.items() for path in paths]


@pytest.fixture
def by_token(dana) -> Api:
    return Api(HTTP_AUTHORIZATION=f"Bearer {tokens.issue(dana, name='ci')[1]}")


@pytest.fixture
def superuser_api(dana, by_token) -> Api:
    User.objects.filter(pk=dana.pk).update(is_superuser=True)
    return by_token


def act(api: Api, path: str, task: Task) -> Any:
    return api.post(path.format(id=task.pk), BODY if path == "/api/tasks" else None)


def task_for(action: Action, failed: Task) -> Task:
    return enqueue_order("A") if action == Action.CANCEL else failed


@pytest.mark.parametrize(("action", "path"), ACTIONS)
def test_without_pipeline_permissions_the_django_permission_is_enough(by_token, failed, action, path):
    assert act(by_token, path, task_for(action, failed)).status_code in {200, 202}


@pytest.mark.parametrize(("action", "path"), ACTIONS)
def test_a_pipeline_with_permissions_is_closed_to_others(by_token, failed, action, path):
    task = task_for(action, failed)
    grant(run=True)
    before = Task.objects.count()

    response = act(by_token, path, task)

    assert problem_of(response) == (403, "not-permitted", [])
    assert "'shop/order'" in response.json()["detail"]
    assert Task.objects.count() == before
    assert Task.objects.get(pk=task.pk).status == task.status


@pytest.mark.parametrize(("action", "path"), ACTIONS)
def test_a_listed_user_may_do_the_listed_action(dana, by_token, failed, action, path):
    grant(user=dana, **{action.value: True})

    assert act(by_token, path, task_for(action, failed)).status_code in {200, 202}


@pytest.mark.parametrize(("action", "path"), ACTIONS)
def test_a_listed_user_may_do_no_other_action(dana, by_token, failed, action, path):
    grant(user=dana, **{other.value: other != action for other in Action})

    assert act(by_token, path, task_for(action, failed)).status_code == 403


def test_a_group_permission_holds_for_all_members(dana, by_token, queued):
    grant(cancel=True)
    assert act(by_token, "/api/tasks/{id}/cancel", queued).status_code == 403

    dana.groups.add(Group.objects.get(name="others"))

    assert act(by_token, "/api/tasks/{id}/cancel", queued).status_code == 200


def test_a_pipeline_permission_does_not_replace_the_django_permission(dana, by_token, queued):
    dana.user_permissions.remove(Permission.objects.get(codename="cancel_task"))
    grant(user=dana, cancel=True)

    assert act(by_token, "/api/tasks/{id}/cancel", queued).status_code == 403


def test_pipeline_permissions_do_not_affect_other_pipelines(by_token, queued):
    grant("anything", cancel=True)

    assert act(by_token, "/api/tasks/{id}/cancel", queued).status_code == 200


def test_a_superuser_may_use_every_pipeline(superuser_api, queued):
    grant()

    assert act(superuser_api, "/api/tasks/{id}/cancel", queued).status_code == 200


def test_in_debug_local_callers_may_use_every_pipeline(api, queued):
    grant()

    assert act(api, "/api/tasks/{id}/cancel", queued).status_code == 200


@pytest.mark.parametrize(
    ("verb", "action"), [("retry", Action.RETRY), ("cancel", Action.CANCEL), ("rerun", Action.RUN)]
)
def test_the_admin_checks_pipeline_permissions_too(dana, in_admin, failed, verb, action):
    task = task_for(action, failed)
    permission = grant(user=dana, **{other.value: other != action for other in Action})
    address = f"/admin/taskqueue/task/{task.pk}/{verb}/"

    assert in_admin.post(address).status_code == 403
    assert f'="{address}"' not in in_admin.get(f"/admin/taskqueue/task/{task.pk}/change/").content.decode()

    PipelinePermission.objects.filter(pk=permission.pk).update(**{action.value: True})

    assert f'="{address}"' in in_admin.get(f"/admin/taskqueue/task/{task.pk}/change/").content.decode()
    assert in_admin.post(address, {"confirmed": "1"}).status_code == 302
    assert LogEntry.objects.count() > 0


def test_a_bulk_action_names_the_tasks_without_permission(in_admin, queued):
    grant()
    form = {"action": "cancel_selected", "_selected_action": [str(queued.pk)]}

    response = in_admin.post("/admin/taskqueue/task/", form, follow=True)

    text = "1 task not cancelled: You may not cancel tasks of pipeline &#x27;shop/order&#x27;."
    assert text in response.content.decode()
    assert Task.objects.get().status == "queued"


def test_a_payload_is_redacted_for_users_without_permission(dana, by_token, in_admin, succeeded):
    permission = grant(user=dana)
    address, page = f"/api/tasks/{succeeded.pk}", f"/admin/taskqueue/task/{succeeded.pk}/change/"

    task = by_token.get(address).json()

    assert task["payload"] == task["result"] == task["steps"][0]["input"] == task["steps"][0]["output"] == "**********"
    assert "charged succeeded" not in in_admin.get(page).content.decode()

    PipelinePermission.objects.filter(pk=permission.pk).update(view_payload=True)

    assert by_token.get(address).json()["payload"]["number"] == "succeeded"
    assert "charged succeeded" in in_admin.get(page).content.decode()


@pytest.mark.parametrize("ending", ["on-failure", "on-cancel", "on-failure.on-cancel"])
def test_handlers_of_a_closed_pipeline_are_closed_too(dana, ending):
    name = f"shop/order.{ending}"
    assert CallerPermissions(dana).visibility(name) == Visibility.FULL
    permission = grant()

    for action in Action:
        assert not CallerPermissions(dana).may(action, name)
    assert CallerPermissions(dana).visibility(name) == Visibility.NONE

    PipelinePermission.objects.filter(pk=permission.pk).update(group=None, user=dana, view_payload=True, cancel=True)

    assert CallerPermissions(dana).visibility(name) == Visibility.FULL
    assert CallerPermissions(dana).may(Action.CANCEL, name)
    assert not CallerPermissions(dana).may(Action.RETRY, name)


def test_handlers_of_an_open_pipeline_can_be_closed(dana):
    Pipeline.objects.create(name="shop/order.on-failure")
    grant("shop/order.on-failure")

    assert CallerPermissions(dana).visibility("shop/order.on-failure") == Visibility.NONE
    assert CallerPermissions(dana).visibility("shop/order") == Visibility.FULL


def test_pipelines_denied_includes_handlers(dana):
    grant()

    closed = CallerPermissions(dana).pipelines_denied(Action.VIEW_PAYLOAD)
    assert closed == {"shop/order", "shop/order.on-failure", "shop/order.on-cancel", *INTERNAL}


@pytest.fixture
def task_with_child(db: None) -> Iterator[Task]:
    """A task of an open pipeline that calls shop/order as a child."""
    with own_registry():

        @define("shop/desk")
        def desk(number: str) -> str:
            order(Order(number=number))
            return "done"

        task = desk.enqueue("a-closed-number")
        work()
        work()
        yield Task.objects.get(pk=task.pk)


def test_a_closed_childs_input_and_output_are_redacted_in_its_parent(dana, by_token, in_admin, task_with_child):
    permission = grant(user=dana)
    (child,) = Step.objects.filter(task=task_with_child)
    page = f"/admin/taskqueue/task/{task_with_child.pk}"
    downloads = [f"{page}/download/{what}-{child.pk}/" for what in ("input", "output")]
    assert task_with_child.status == "succeeded"
    note = {"key": child.key, "kind": "arguments", "recorded": '{"number":"a-drifted-number"}', "now": "{}"}
    Task.objects.filter(pk=task_with_child.pk).update(
        drift=[note, {**note, "key": "", "kind": "version", "recorded": "1"}]
    )

    shown = by_token.get(f"/api/tasks/{task_with_child.pk}").json()

    assert shown["payload"] == {"number": "a-closed-number"}
    assert shown["steps"][0]["input"] == shown["steps"][0]["output"] == "**********"
    assert [note["recorded"] for note in shown["drift"]] == ["**********", "1"]
    for text in ("charged a-closed-number", "a-drifted-number"):
        assert text not in in_admin.get(f"{page}/change/").content.decode()
    assert [in_admin.get(address).json() for address in downloads] == ["**********", "**********"]

    PipelinePermission.objects.filter(pk=permission.pk).update(view_payload=True)

    assert by_token.get(f"/api/tasks/{task_with_child.pk}").json()["steps"][0]["input"]["number"] == "a-closed-number"
    assert "charged a-closed-number" in in_admin.get(f"{page}/change/").content.decode()
    assert in_admin.get(downloads[0]).json()["number"] == "a-closed-number"


def test_the_completion_event_of_a_closed_pipeline_is_redacted(dana, by_token, in_admin):
    dana.user_permissions.add(Permission.objects.get(codename="view_event"))
    permission = grant(user=dana)
    data = {"task": "1", "pipeline": "shop/order", "payload": {"number": "A-77777"}, "result": "made of A-77777"}
    event = Event.objects.create(name="shop/order.completed", data=data)
    page = f"/admin/taskqueue/event/{event.pk}/change/"

    for shown in (by_token.get("/api/events").json()["events"][0], by_token.get(f"/api/events/{event.pk}").json()):
        assert shown["data"] == {**data, "payload": "**********", "result": "**********"}
    assert "A-77777" not in in_admin.get(page).content.decode()

    PipelinePermission.objects.filter(pk=permission.pk).update(view_payload=True)

    assert by_token.get(f"/api/events/{event.pk}").json()["data"] == data
    assert "A-77777" in in_admin.get(page).content.decode()


def test_lists_and_status_have_no_payloads(by_token, succeeded):
    grant()

    assert "charged succeeded" not in by_token.get("/api/tasks").content.decode()
    assert "charged succeeded" not in by_token.get(f"/api/tasks/{succeeded.pk}/status").content.decode()


def test_permissions_of_all_pipelines_take_one_query(dana, django_assert_num_queries):
    for name in ["shop/order", *Pipeline.objects.exclude(pk="shop/order").values_list("pk", flat=True)[:20]]:
        grant(name, user=dana, run=True)
    permissions = CallerPermissions(User.objects.get(pk=dana.pk))
    permissions.user.get_all_permissions()

    with django_assert_num_queries(1):
        assert "shop/order" in permissions.pipelines_denied(Action.CANCEL)
        assert permissions.may(Action.RUN, "shop/order")
        assert not permissions.may(Action.CANCEL, "shop/order")
        assert permissions.may(Action.CANCEL, "unknown")
        assert permissions.visibility("shop/order") == Visibility.NONE


def test_a_pipeline_permission_belongs_to_one_user_or_group(dana):
    group = Group.objects.create(name="g")
    for who in ({}, {"user": dana, "group": group}):
        with pytest.raises(IntegrityError), transaction.atomic():
            PipelinePermission.objects.create(pipeline_id="shop/order", **who)


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/api/tasks/{failed}/retry", None, "Retried; it was failed."),
        ("/api/tasks/{failed}/retry", {"from_step": "ship"}, "Retried from step ship; it was failed."),
        ("/api/tasks/{queued}/cancel", {"reason": "Not today"}, "Cancelled; it was queued. Reason: Not today"),
        ("/api/tasks/{failed}/rerun", None, "Reran as {copy}."),
        ("/api/pipelines/shop/order/pause", {"reason": "Audit"}, "Paused: Audit"),
        ("/api/events", {"name": "order/paid"}, "Sent."),
        ("/api/tasks", BODY | {"key": "A1", "force": True}, "Forced, with key A1."),
    ],
)
def test_each_action_is_audited_with_its_actor(dana, superuser_api, failed, queued, path, body, text):
    address = path.format(failed=failed.pk, queued=queued.pk)

    assert superuser_api.post(address, body).status_code in {200, 202}

    entry = LogEntry.objects.order_by("pk")[0]
    copy = Task.objects.filter(rerun_of=failed).first()
    assert entry.user == dana
    assert entry.get_change_message() == text.format(copy=copy and copy.pk) + " By token ci."
    assert entry.get_edited_object() is not None


def test_resuming_by_session_is_audited_without_a_token(dana, in_admin):
    User.objects.filter(pk=dana.pk).update(is_superuser=True)
    control.pause_pipeline("shop/order", reason="Audit", actor=Actor(None, "dana"))

    assert in_admin.post("/api/pipelines/shop/order/resume", content_type="application/json").status_code == 200

    assert [entry.get_change_message() for entry in LogEntry.objects.all()] == ["Resumed."]


def test_a_refused_action_is_not_audited(by_token, succeeded):
    assert act(by_token, "/api/tasks/{id}/cancel", succeeded).status_code == 409
    assert not LogEntry.objects.exists()


def test_a_duplicate_event_is_audited_once(superuser_api):
    assert [superuser_api.post("/api/events", {"name": "order/paid", "id": "1"}).status_code for _ in range(2)] == [
        202,
        200,
    ]
    assert LogEntry.objects.count() == 1


def test_a_plain_submission_is_not_audited(by_token):
    assert by_token.post("/api/tasks", BODY).status_code == 202
    assert not LogEntry.objects.exists()


def test_a_caller_without_a_user_leaves_no_entry(api, queued):
    assert act(api, "/api/tasks/{id}/cancel", queued).status_code == 200
    assert not LogEntry.objects.exists()
