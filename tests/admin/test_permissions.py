"""Pipeline permissions on the admin pages: forms, bulk operations, exports, searches and downloads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from demo.pipelines import DemoRequest, demo_task
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.access.permissions import Action
from taskqueue.engine.maintenance import bulk_operations
from taskqueue.engine.queries import filters
from taskqueue.models import BulkOperation, PipelinePermission, Step, Task
from tests.support.admin_pages import LIST, button_of, ids_on, page_of, text_of
from tests.support.users import client_of

PIPELINE = "demo/task"
PIPELINES = "/admin/taskqueue/pipeline/"


@pytest.fixture
def olga() -> Client:
    """A user with every permission for tasks."""
    return client_of(
        "olga", "view_task", "view_task_payload", "add_task", "retry_task", "cancel_task", "view_pipeline", "view_token"
    )


def grant(**actions: bool) -> PipelinePermission:
    """Give olga a permission for the demo's pipeline, with these actions only."""
    return PipelinePermission.objects.create(pipeline_id=PIPELINE, user=User.objects.get(username="olga"), **actions)


def all_but(action: Action) -> dict[str, bool]:
    return {other.value: other != action for other in Action}


def operation_of(verb: Any, user: User | None) -> BulkOperation:
    return bulk_operations.plan(
        filters.TaskFilter(pipeline=PIPELINE), verb=verb, query="", reason="", actor=Actor(user and user.pk, "olga")
    )


def test_without_the_grant_there_is_no_submit_form(olga):
    permission = grant(**all_but(Action.RUN))
    address = f"{PIPELINES}demo_2Ftask/submit/"

    assert olga.get(address).status_code == 403
    assert olga.post(address, {}).status_code == 403
    assert address not in olga.get(PIPELINES).content.decode()
    assert address not in olga.get(f"{PIPELINES}demo_2Ftask/change/").content.decode()

    PipelinePermission.objects.filter(pk=permission.pk).update(run=True)

    assert olga.get(address).status_code == 200
    assert address in olga.get(PIPELINES).content.decode()


@pytest.mark.parametrize(
    ("verb", "action"), [("retry", Action.RETRY), ("cancel", Action.CANCEL), ("rerun", Action.RUN)]
)
def test_an_operation_acts_with_the_permissions_of_its_user(olga, failed, queued, verb, action):
    operation = operation_of(verb, User.objects.get(username="olga"))
    grant(**all_but(action))

    bulk_operations.run_batches()

    operation.refresh_from_db()
    assert (operation.status, operation.changed) == ("done", 0)
    assert operation.failed == operation.processed > 0
    assert [reason for reason in operation.refusals if f"of pipeline '{PIPELINE}'" in reason]
    assert Task.objects.count() == 2


def test_an_operation_of_a_deleted_user_changes_nothing(failed):
    operation = operation_of("retry", None)

    bulk_operations.run_batches()

    operation.refresh_from_db()
    assert (operation.status, operation.changed, operation.failed) == ("done", 0, 1)
    assert operation.refusals == {"The account that started it is gone.": 1}


def test_an_operation_of_a_user_without_the_permission_changes_nothing(olga, failed):
    user = User.objects.get(username="olga")
    operation = operation_of("retry", user)
    user.user_permissions.clear()

    bulk_operations.run_batches()

    operation.refresh_from_db()
    assert (operation.changed, operation.failed) == (0, 1)


def test_an_export_masks_payloads_of_denied_pipelines(olga, failed, django_assert_max_num_queries):
    grant(**all_but(Action.VIEW_PAYLOAD))

    with django_assert_max_num_queries(14):
        (line,) = b"".join(olga.get(f"{LIST}export/jsonl/").streaming_content).decode().splitlines()

    assert json.loads(line)["payload"] == "**********"
    assert json.loads(line)["result"] is None


def test_a_payload_search_leaves_out_denied_pipelines(olga, queued):
    search = {"q": "payload.label:queued"}
    assert ids_on(olga.get(LIST, search)) == [str(queued.pk)]

    grant(**all_but(Action.VIEW_PAYLOAD))

    assert ids_on(olga.get(LIST, search)) == []
    assert b"".join(olga.get(f"{LIST}export/jsonl/", search).streaming_content) == b""
    assert ids_on(olga.get(LIST)) == [str(queued.pk)]


def test_an_operation_on_a_payload_search_leaves_out_denied_pipelines(olga, queued):
    grant(**all_but(Action.VIEW_PAYLOAD))

    text = text_of(olga.get("/admin/taskqueue/bulkoperation/new/cancel/?q=payload.label:queued"))

    assert "0 tasks" in text


def test_a_download_is_masked_without_the_grant(olga, succeeded):
    step = Step.objects.filter(task=succeeded).earliest("pk")
    names = ["payload", "result", f"input-{step.pk}", f"output-{step.pk}"]
    permission = grant(**all_but(Action.VIEW_PAYLOAD))

    def read(name: str) -> Any:
        response = olga.get(f"/admin/taskqueue/task/{succeeded.pk}/download/{name}/")
        return response.json() if response.status_code == 200 else response.status_code

    assert {read(name) for name in names} <= {"**********", 404}
    assert read("payload") == "**********"

    PipelinePermission.objects.filter(pk=permission.pk).update(view_payload=True)

    assert read("payload")["label"] == "fine"


@pytest.mark.parametrize("action", [Action.RUN, Action.VIEW_PAYLOAD])
def test_editing_a_payload_needs_the_grants_to_see_and_run(olga, queued, action):
    permission = grant(**all_but(action))

    assert olga.get(button_of(queued, "edit")).status_code == 403
    assert olga.post(button_of(queued, "edit"), {"payload": '{"label": "x"}'}).status_code == 403
    assert button_of(queued, "edit") not in olga.get(page_of(queued)).content.decode()

    PipelinePermission.objects.filter(pk=permission.pk).update(**{action.value: True})

    assert olga.get(button_of(queued, "edit")).status_code == 200
    assert button_of(queued, "edit") in olga.get(page_of(queued)).content.decode()


def test_a_task_page_has_no_payload_without_the_grant(olga):
    task = demo_task.enqueue(DemoRequest(label="a-label-of-its-own", delay_seconds=0))
    PipelinePermission.objects.create(
        pipeline_id=PIPELINE, group=Group.objects.create(name="others"), view_payload=True
    )

    assert "a-label-of-its-own" not in text_of(olga.get(page_of(task)))


def test_the_navigation_has_tokens_for_users_who_may_view_them(olga, viewer):
    assert "/admin/taskqueue/token/" in olga.get(LIST).content.decode()
    assert "/admin/taskqueue/token/" not in viewer.get(LIST).content.decode()
