"""Rights of one pipeline: whoever is named for it may act on its tasks, and nobody else; alike in API and admin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.db import IntegrityError, transaction

from taskqueue import pipeline as define
from taskqueue.engine.access.permissions import Action, Rights, Visibility
from taskqueue.engine.actions import tokens
from taskqueue.engine.tasks import control
from taskqueue.models import Event, Pipeline, PipelinePermission, Step, Task
from taskqueue.testing import work
from tests.support.api import BODY, Api, enqueue_order, named, problem_of
from tests.support.pipelines.orders import Order, order
from tests.support.registries import own_registry

DEEDS = {
    Action.RUN: ("/api/tasks", "/api/tasks/{id}/rerun"),
    Action.RETRY: ("/api/tasks/{id}/retry",),
    Action.CANCEL: ("/api/tasks/{id}/cancel",),
}
ACTS = [(deed, path) for deed, paths in DEEDS.items() for path in paths]


@pytest.fixture
def by_token(dana) -> Api:
    return Api(HTTP_AUTHORIZATION=f"Bearer {tokens.issue(dana, name='ci')[1]}")


def act(api: Api, path: str, task: Task) -> Any:
    return api.post(path.format(id=task.pk), BODY if path == "/api/tasks" else None)


def task_for(deed: Action, failed: Task) -> Task:
    return enqueue_order("A") if deed == Action.CANCEL else failed


@pytest.mark.parametrize(("deed", "path"), ACTS)
def test_without_any_right_a_pipeline_is_open_to_who_has_the_permission(by_token, failed, deed, path):
    assert act(by_token, path, task_for(deed, failed)).status_code in {200, 202}


@pytest.mark.parametrize(("deed", "path"), ACTS)
def test_once_somebody_is_named_others_may_not(by_token, failed, deed, path):
    task = task_for(deed, failed)
    named(run=True)
    before = Task.objects.count()

    response = act(by_token, path, task)

    assert problem_of(response) == (403, "not-permitted", [])
    assert "'shop/order'" in response.json()["detail"]
    assert Task.objects.count() == before
    assert Task.objects.get(pk=task.pk).status == task.status


@pytest.mark.parametrize(("deed", "path"), ACTS)
def test_who_is_named_for_a_deed_may_do_it(dana, by_token, failed, deed, path):
    named(user=dana, **{deed.value: True})

    assert act(by_token, path, task_for(deed, failed)).status_code in {200, 202}


@pytest.mark.parametrize(("deed", "path"), ACTS)
def test_who_is_named_for_the_other_deeds_may_not(dana, by_token, failed, deed, path):
    named(user=dana, **{other.value: other != deed for other in Action})

    assert act(by_token, path, task_for(deed, failed)).status_code == 403


def test_a_group_is_named_for_all_its_members(dana, by_token, queued):
    named(cancel=True)
    assert act(by_token, "/api/tasks/{id}/cancel", queued).status_code == 403

    dana.groups.add(Group.objects.get(name="others"))

    assert act(by_token, "/api/tasks/{id}/cancel", queued).status_code == 200


def test_a_right_does_not_stand_in_for_the_permission(dana, by_token, queued):
    dana.user_permissions.remove(Permission.objects.get(codename="cancel_task"))
    named(user=dana, cancel=True)

    assert act(by_token, "/api/tasks/{id}/cancel", queued).status_code == 403


def test_the_rights_of_one_pipeline_are_not_those_of_another(by_token, queued):
    named("anything", cancel=True)

    assert act(by_token, "/api/tasks/{id}/cancel", queued).status_code == 200


def test_a_superuser_is_never_shut_out(dana, by_token, queued):
    named()
    User.objects.filter(pk=dana.pk).update(is_superuser=True)

    assert act(by_token, "/api/tasks/{id}/cancel", queued).status_code == 200


def test_in_debug_on_this_machine_nobody_is_asked(api, queued):
    named()

    assert act(api, "/api/tasks/{id}/cancel", queued).status_code == 200


@pytest.mark.parametrize(("noun", "deed"), [("retry", Action.RETRY), ("cancel", Action.CANCEL), ("rerun", Action.RUN)])
def test_the_admin_refuses_and_allows_alike(dana, in_admin, failed, noun, deed):
    task = task_for(deed, failed)
    right = named(user=dana, **{other.value: other != deed for other in Action})
    address = f"/admin/taskqueue/task/{task.pk}/{noun}/"

    assert in_admin.post(address).status_code == 403
    assert f'="{address}"' not in in_admin.get(f"/admin/taskqueue/task/{task.pk}/change/").content.decode()

    PipelinePermission.objects.filter(pk=right.pk).update(**{deed.value: True})

    assert f'="{address}"' in in_admin.get(f"/admin/taskqueue/task/{task.pk}/change/").content.decode()
    assert in_admin.post(address, {"confirmed": "1"}).status_code == 302
    assert LogEntry.objects.count() > 0


def test_in_bulk_the_admin_says_which_it_may_not(in_admin, queued):
    named()
    form = {"action": "cancel_selected", "_selected_action": [str(queued.pk)]}

    response = in_admin.post("/admin/taskqueue/task/", form, follow=True)

    said = "1 task not cancelled: You may not cancel tasks of pipeline &#x27;shop/order&#x27;."
    assert said in response.content.decode()
    assert Task.objects.get().status == "queued"


def test_a_payload_is_withheld_from_those_who_are_not_named(dana, by_token, in_admin, succeeded):
    right = named(user=dana)
    place, page = f"/api/tasks/{succeeded.pk}", f"/admin/taskqueue/task/{succeeded.pk}/change/"

    task = by_token.get(place).json()

    assert task["payload"] == task["result"] == task["steps"][0]["input"] == task["steps"][0]["output"] == "**********"
    assert "charged succeeded" not in in_admin.get(page).content.decode()

    PipelinePermission.objects.filter(pk=right.pk).update(view_payload=True)

    assert by_token.get(place).json()["payload"]["number"] == "succeeded"
    assert "charged succeeded" in in_admin.get(page).content.decode()


@pytest.mark.parametrize("ending", ["on-failure", "on-cancel", "on-failure.on-cancel"])
def test_what_handles_the_ends_of_a_closed_pipeline_is_closed_with_it(dana, ending):
    name = f"shop/order.{ending}"
    assert Rights(dana).visibility(name) == Visibility.FULL
    right = named()

    for deed in Action:
        assert not Rights(dana).may(deed, name)
    assert Rights(dana).visibility(name) == Visibility.NONE

    PipelinePermission.objects.filter(pk=right.pk).update(group=None, user=dana, view_payload=True, cancel=True)

    assert Rights(dana).visibility(name) == Visibility.FULL
    assert Rights(dana).may(Action.CANCEL, name)
    assert not Rights(dana).may(Action.RETRY, name)


def test_what_handles_the_ends_of_an_open_pipeline_can_be_closed_for_itself(dana):
    Pipeline.objects.create(name="shop/order.on-failure")
    named("shop/order.on-failure")

    assert Rights(dana).visibility("shop/order.on-failure") == Visibility.NONE
    assert Rights(dana).visibility("shop/order") == Visibility.FULL


def test_a_list_of_what_is_closed_names_what_handles_its_ends(dana):
    named()

    closed = Rights(dana).pipelines_denied(Action.VIEW_PAYLOAD)
    assert closed == {"shop/order", "shop/order.on-failure", "shop/order.on-cancel"}


@pytest.fixture
def passed_on(db: None) -> Iterator[Task]:
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


def test_what_a_child_of_a_closed_pipeline_was_given_and_made_is_withheld_in_its_parent(
    dana, by_token, in_admin, passed_on
):
    right = named(user=dana)
    (child,) = Step.objects.filter(task=passed_on)
    page = f"/admin/taskqueue/task/{passed_on.pk}"
    places = [f"{page}/download/{what}-{child.pk}/" for what in ("input", "output")]
    assert passed_on.status == "succeeded"
    note = {"key": child.key, "kind": "arguments", "recorded": '{"number":"a-drifted-number"}', "now": "{}"}
    Task.objects.filter(pk=passed_on.pk).update(drift=[note, {**note, "key": "", "kind": "version", "recorded": "1"}])

    shown = by_token.get(f"/api/tasks/{passed_on.pk}").json()

    assert shown["payload"] == {"number": "a-closed-number"}
    assert shown["steps"][0]["input"] == shown["steps"][0]["output"] == "**********"
    assert [note["recorded"] for note in shown["drift"]] == ["**********", "1"]
    for text in ("charged a-closed-number", "a-drifted-number"):
        assert text not in in_admin.get(f"{page}/change/").content.decode()
    assert [in_admin.get(place).json() for place in places] == ["**********", "**********"]

    PipelinePermission.objects.filter(pk=right.pk).update(view_payload=True)

    assert by_token.get(f"/api/tasks/{passed_on.pk}").json()["steps"][0]["input"]["number"] == "a-closed-number"
    assert "charged a-closed-number" in in_admin.get(f"{page}/change/").content.decode()
    assert in_admin.get(places[0]).json()["number"] == "a-closed-number"


def test_the_event_of_an_end_tells_nothing_of_a_closed_pipelines_task(dana, by_token, in_admin):
    dana.user_permissions.add(Permission.objects.get(codename="view_event"))
    right = named(user=dana)
    told = {"task": "1", "pipeline": "shop/order", "payload": {"number": "A-77777"}, "result": "made of A-77777"}
    event = Event.objects.create(name="shop/order.completed", data=told)
    page = f"/admin/taskqueue/event/{event.pk}/change/"

    for shown in (by_token.get("/api/events").json()["events"][0], by_token.get(f"/api/events/{event.pk}").json()):
        assert shown["data"] == {**told, "payload": "**********", "result": "**********"}
    assert "A-77777" not in in_admin.get(page).content.decode()

    PipelinePermission.objects.filter(pk=right.pk).update(view_payload=True)

    assert by_token.get(f"/api/events/{event.pk}").json()["data"] == told
    assert "A-77777" in in_admin.get(page).content.decode()


def test_lists_and_status_hold_nothing_that_could_be_withheld(by_token, succeeded):
    named()

    assert "charged succeeded" not in by_token.get("/api/tasks").content.decode()
    assert "charged succeeded" not in by_token.get(f"/api/tasks/{succeeded.pk}/status").content.decode()


def test_one_query_tells_the_rights_of_every_pipeline(dana, django_assert_num_queries):
    for name in ["shop/order", *Pipeline.objects.exclude(pk="shop/order").values_list("pk", flat=True)[:20]]:
        named(name, user=dana, run=True)
    rights = Rights(User.objects.get(pk=dana.pk))
    rights.user.get_all_permissions()

    with django_assert_num_queries(1):
        assert "shop/order" in rights.pipelines_denied(Action.CANCEL)
        assert rights.may(Action.RUN, "shop/order")
        assert not rights.may(Action.CANCEL, "shop/order")
        assert rights.may(Action.CANCEL, "unknown")
        assert rights.visibility("shop/order") == Visibility.NONE


def test_a_right_belongs_to_one_user_or_one_group(dana):
    group = Group.objects.create(name="g")
    for who in ({}, {"user": dana, "group": group}):
        with pytest.raises(IntegrityError), transaction.atomic():
            PipelinePermission.objects.create(pipeline_id="shop/order", **who)


@pytest.mark.parametrize(
    ("path", "body", "said"),
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
def test_each_deed_is_written_down_with_who_did_it(dana, failed, queued, path, body, said):
    User.objects.filter(pk=dana.pk).update(is_superuser=True)
    secret = tokens.issue(dana, name="ci")[1]
    place = path.format(failed=failed.pk, queued=queued.pk)

    assert Api(HTTP_AUTHORIZATION=f"Bearer {secret}").post(place, body).status_code in {200, 202}

    entry = LogEntry.objects.order_by("pk")[0]
    copy = Task.objects.filter(rerun_of=failed).first()
    assert entry.user == dana
    assert entry.get_change_message() == said.format(copy=copy and copy.pk) + " By token ci."
    assert entry.get_edited_object() is not None


def test_the_end_of_a_pause_is_written_down_by_session_without_a_token(dana, in_admin):
    User.objects.filter(pk=dana.pk).update(is_superuser=True)
    control.pause_pipeline("shop/order", reason="Audit", by="dana")

    assert in_admin.post("/api/pipelines/shop/order/resume", content_type="application/json").status_code == 200

    assert [entry.get_change_message() for entry in LogEntry.objects.all()] == ["Resumed."]


def test_a_deed_that_was_refused_is_not_written_down(by_token, succeeded):
    assert act(by_token, "/api/tasks/{id}/cancel", succeeded).status_code == 409
    assert not LogEntry.objects.exists()


def test_an_event_that_was_sent_before_is_written_down_once(dana):
    User.objects.filter(pk=dana.pk).update(is_superuser=True)
    api = Api(HTTP_AUTHORIZATION=f"Bearer {tokens.issue(dana, name='ci')[1]}")

    assert [api.post("/api/events", {"name": "order/paid", "id": "1"}).status_code for _ in range(2)] == [202, 200]
    assert LogEntry.objects.count() == 1


def test_an_ordinary_submission_is_not_written_down(by_token):
    assert by_token.post("/api/tasks", BODY).status_code == 202
    assert not LogEntry.objects.exists()


def test_a_caller_without_a_user_leaves_no_entry(api, queued):
    assert act(api, "/api/tasks/{id}/cancel", queued).status_code == 200
    assert not LogEntry.objects.exists()
