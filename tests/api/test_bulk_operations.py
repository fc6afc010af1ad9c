"""Bulk operations in the API."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User

from taskqueue.engine.actions import tokens
from taskqueue.engine.maintenance import bulk_operations
from taskqueue.models import BulkOperation, Task
from taskqueue.states import BulkOperationVerb
from taskqueue.testing import work
from tests.support.admin_pages import text_of
from tests.support.api import Api, enqueue_order, fail_order, grant, problem_of

LIST = "/api/bulk-operations"
PERMISSIONS = {"retry": "retry_task", "run-now": "retry_task", "cancel": "cancel_task", "rerun": "add_task"}


@pytest.fixture
def by_token(dana: User) -> Api:
    return Api(HTTP_AUTHORIZATION=f"Bearer {tokens.issue(dana, name='ci')[1]}")


def statuses() -> dict[str, int]:
    found = list(Task.objects.values_list("status", flat=True))
    return {status: found.count(status) for status in set(found)}


def test_a_preview_counts_and_changes_nothing(by_token, failed, queued):
    preview = by_token.get(f"{LIST}/preview", action="retry", pipeline="shop/order").json()

    assert (preview["estimate"], preview["needs_reason"], preview["oldest"]) == (1, False, None)
    assert preview["newest"] == [{"id": str(failed.pk), "pipeline": "shop/order", "status": "failed"}]
    assert "keeps the results of its finished steps" in preview["effect"]
    assert (statuses(), BulkOperation.objects.count()) == ({"failed": 1, "queued": 1}, 0)


def test_an_operation_is_started_and_followed_to_its_end(by_token, dana):
    tasks = [fail_order() for _ in range(3)]
    enqueue_order("other")

    response = by_token.post(f"{LIST}?status=failed&error=Permanent", {"action": "retry", "reason": " Shop\nis back"})

    operation = response.json()
    assert (response.status_code, response["Location"]) == (202, f"{LIST}/{operation['id']}")
    assert (operation["action"], operation["status"], operation["estimate"]) == ("retry", "planned", 3)
    assert (operation["filters"], operation["reason"]) == ("status=failed&error=Permanent", "Shop is back")
    while bulk_operations.run_batch() is not None:
        pass
    ended = by_token.get(response["Location"]).json()
    assert (ended["status"], ended["processed"], ended["changed"], ended["refusals"]) == ("done", 3, 3, {})
    assert by_token.get(LIST).json()["operations"] == [ended]
    work()
    assert set(Task.objects.filter(pk__in=[task.pk for task in tasks]).values_list("status", flat=True)) == {
        "succeeded"
    }
    entry = LogEntry.objects.get(object_id=operation["id"])
    text = "Retry 3 tasks: status failed, error Permanent. Reason: Shop is back By token ci."
    assert (entry.user, entry.get_change_message()) == (dana, text)


def test_the_admin_shows_an_operation_of_the_api(by_token, failed, admin_client):
    made = by_token.post(f"{LIST}?created_after=2020-01-01T00:00:00Z", {"action": "cancel"})
    assert made.status_code == 422  # it has failed already: nothing matches
    made = by_token.post(f"{LIST}?created_after=2020-01-01T00:00:00Z", {"action": "rerun"}).json()

    page = admin_client.get(f"/admin/taskqueue/bulkoperation/{made['id']}/change/")

    assert page.status_code == 200
    assert "created_after 2020-01-01T00:00:00Z" in text_of(page)
    assert "?created_after" not in page.content.decode()


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 422, "unfiltered-operation"),
        ("?status=running", 422, "unfiltered-operation"),
        ("?key=none", 422, "unfiltered-operation"),
        ("?state=failed", 400, "invalid-query"),
        ("?pipeline=none", 400, "invalid-query"),
    ],
)
def test_an_operation_needs_filters_that_match(by_token, failed, query, status, code):
    assert problem_of(by_token.post(f"{LIST}{query}", {"action": "retry"}))[:2] == (status, code)
    assert not BulkOperation.objects.exists()


def test_many_tasks_need_a_reason(by_token, failed, monkeypatch):
    monkeypatch.setattr(bulk_operations, "LARGE", 0)

    assert by_token.get(f"{LIST}/preview", action="retry", status="failed").json()["needs_reason"]
    refused = by_token.post(f"{LIST}?status=failed", {"action": "retry"})
    assert problem_of(refused) == (422, "invalid-body", ["/reason"])
    assert by_token.post(f"{LIST}?status=failed", {"action": "retry", "reason": "Fixed"}).status_code == 202


@pytest.mark.parametrize("action", [verb.value for verb in BulkOperationVerb])
def test_each_action_needs_its_permission(caller_with, failed, action):
    caller = caller_with("view_task", *(set(PERMISSIONS.values()) - {PERMISSIONS[action]}))

    for response in (
        caller.get(f"{LIST}/preview", action=action, pipeline="shop/order"),
        caller.post(f"{LIST}?pipeline=shop/order", {"action": action}),
    ):
        assert problem_of(response) == (403, "not-allowed", [])
        assert f"taskqueue.{PERMISSIONS[action]}" in response.json()["detail"]


def test_operations_are_for_viewers_and_those_who_may_start_one(by_token, caller_with, failed):
    User.objects.filter(username="dana").update(username="kim")
    made = by_token.post(f"{LIST}?status=failed", {"action": "retry"}).json()
    stranger = caller_with("view_task", "view_worker")

    for address in (LIST, f"{LIST}/{made['id']}"):
        assert problem_of(stranger.get(address)) == (403, "not-allowed", [])
    assert stranger.post(f"{LIST}/{made['id']}/abort").status_code == 403


def test_a_local_caller_without_an_account_is_refused(api, failed):
    response = api.post(f"{LIST}?status=failed", {"action": "retry"})

    assert problem_of(response) == (403, "not-allowed", [])
    assert "log in, or send a token" in response.json()["detail"]


def test_tasks_without_the_pipelines_grant_are_refused_one_by_one(by_token, failed):
    grant()
    made = by_token.post(f"{LIST}?status=failed", {"action": "retry"}).json()
    while bulk_operations.run_batch() is not None:
        pass

    ended = by_token.get(f"{LIST}/{made['id']}").json()
    assert (ended["failed"], ended["refusals"]) == (1, {"You may not retry tasks of pipeline 'shop/order'.": 1})


def test_an_operation_can_be_aborted_once(by_token, failed):
    made = by_token.post(f"{LIST}?status=failed", {"action": "retry"}).json()

    aborted = by_token.post(f"{LIST}/{made['id']}/abort").json()
    again = by_token.post(f"{LIST}/{made['id']}/abort")

    assert (aborted["status"], aborted["aborted_by"]) == ("aborted", "dana")
    assert problem_of(again) == (409, "bulk-operation-ended", [])
    assert bulk_operations.run_batch() is None
    assert statuses() == {"failed": 1}


def test_filters_on_payloads_are_left_out_for_callers_who_may_not_see_them(by_token, dana, failed):
    made = by_token.post(f"{LIST}?status=failed", {"action": "retry"}).json()
    BulkOperation.objects.update(query="q=payload.number:7", selection={"payload": [["number", [7]]]})
    assert by_token.get(f"{LIST}/{made['id']}").json()["filters"] == "q=payload.number:7"

    grant(user=dana, retry=True)

    assert by_token.get(f"{LIST}/{made['id']}").json()["filters"] == ""
    assert by_token.get(LIST).json()["operations"][0]["filters"] == ""


def test_an_unknown_operation_is_not_found(by_token):
    missing = f"{LIST}/0192d5a0-7c1e-7b3a-9f4e-2d6c8a1b5e90"

    assert problem_of(by_token.get(missing)) == (404, "not-found", [])
    assert problem_of(by_token.post(f"{missing}/abort")) == (404, "not-found", [])
