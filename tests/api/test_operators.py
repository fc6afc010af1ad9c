"""Workers, schedules, skips, subscriptions, tokens and permissions in the API, as operators use them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.db.models.functions import Now

from taskqueue import pipeline
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.enqueue.enqueue import enqueue
from taskqueue.engine.enqueue.options import Options
from taskqueue.models import PipelinePermission, Schedule, Subscription, Task, Token, Worker
from tests.support.api import Api, grant, problem_of
from tests.support.registries import own_registry


def audit() -> list[str]:
    return [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")]


@pytest.fixture
def worker(db: None) -> Worker:
    return Worker.objects.create(host="node-1", pid=7, cluster="c", version="1")


def test_a_worker_drains_and_resumes(caller_with, worker):
    caller, address = caller_with("change_worker"), f"/api/workers/{worker.pk}"

    assert caller.post(f"{address}/drain").json()["state"] == "drained"
    assert problem_of(caller.post(f"{address}/drain"))[:2] == (409, "worker-not-drainable")
    assert caller.post(f"{address}/resume").json()["state"] == "live"
    assert problem_of(caller.post(f"{address}/resume"))[:2] == (409, "worker-not-drainable")
    assert audit() == ["Drained.", "Resumed."]


def test_draining_needs_change_worker_and_a_worker(caller_with, api, worker):
    Worker.objects.filter(pk=worker.pk).update(ended_at=Now())

    assert problem_of(api.post(f"/api/workers/{worker.pk}/drain"))[:2] == (409, "worker-not-drainable")
    assert problem_of(api.post("/api/workers/77/drain"))[:2] == (404, "worker-not-found")


def test_a_viewer_drains_no_worker(caller_with, worker):
    caller = caller_with("view_worker")

    for verb in ("drain", "resume"):
        assert problem_of(caller.post(f"/api/workers/{worker.pk}/{verb}"))[:2] == (403, "not-allowed")


def test_a_schedule_is_run_now(caller_with):
    with own_registry():

        @pipeline("api/nightly", cron="0 3 * * *")
        def nightly() -> None: ...

        sync_pipelines()
        before = Schedule.objects.get(pipeline="api/nightly")
        caller, address = caller_with("add_task"), "/api/schedules/api/nightly/run"

        response = caller.post(address)

        task = Task.objects.get(pk=response.json()["id"])
        assert (response.status_code, task.pipeline_id, task.cron_at) == (202, "api/nightly", None)
        assert Schedule.objects.get(pk=before.pk).next_at == before.next_at
        assert sorted(audit()) == [f"Ran now as {task.pk}.", "Submitted from its schedule."]
        grant("api/nightly")
        assert problem_of(caller.post(address))[:2] == (403, "not-permitted")
        assert problem_of(caller.post("/api/schedules/shop/order/run"))[:2] == (404, "not-found")


def test_skips_are_listed_in_pages(caller_with):
    for _ in range(4):
        enqueue("shop/order", {"number": "A1"}, options=Options(key="k"))
    caller = caller_with("view_skip")

    first = caller.get("/api/skips", limit=2, pipeline="shop/order", kind="duplicate").json()
    second = caller.get("/api/skips", limit=2, before=first["next_before"]).json()

    assert (len(first["skips"]), len(second["skips"]), second["next_before"]) == (2, 1, None)
    assert {skip["pipeline"] for skip in first["skips"]} == {"shop/order"}
    assert first["skips"][-1]["id"] > second["skips"][0]["id"]
    assert caller.get("/api/skips", kind="misfire").json()["skips"] == []


def test_skips_need_view_skip(caller_with):
    assert problem_of(caller_with("view_task").get("/api/skips"))[:2] == (403, "not-allowed")


def test_a_secret_of_a_subscription_is_rotated(caller_with):
    subscription = Subscription.objects.create(address="https://example.com/", secret="whsec_b2xk")

    response = caller_with("change_subscription").post(f"/api/subscriptions/{subscription.pk}/rotate")

    changed = Subscription.objects.get()
    assert response.json()["secret"] == changed.secret != "whsec_b2xk"
    assert (response["Cache-Control"], changed.old_secret, audit()) == ("no-store", "whsec_b2xk", ["Secret rotated."])


def test_a_task_is_rerun_with_another_payload(api, failed):
    response = api.post(f"/api/tasks/{failed.pk}/rerun", {"payload": {"number": "B2"}})

    copy = Task.objects.get(pk=response.json()["id"])
    assert (response.status_code, copy.payload["number"], copy.rerun_of_id) == (202, "B2", failed.pk)
    refused = api.post(f"/api/tasks/{failed.pk}/rerun", {"payload": {}})
    assert problem_of(refused) == (409, "invalid-payload", ["/payload/number"])


def test_a_token_is_created_used_and_revoked(caller_with):
    caller = caller_with("add_token", "view_token", "change_token", "view_task")

    response = caller.post("/api/tokens", {"name": "ci", "per_minute": 600})

    made = response.json()
    assert (response.status_code, response["Cache-Control"], made["user"]) == (201, "no-store", "dana")
    token = Token.objects.get()
    assert token.expires_at - token.created_at == timedelta(days=90)
    by_token = Api(HTTP_AUTHORIZATION=f"Bearer {made['secret']}")
    assert by_token.get("/api/tasks").status_code == 200
    (listed,) = caller.get("/api/tokens").json()["tokens"]
    assert (listed["prefix"], "secret" in listed, made["secret"] in str(listed)) == (token.prefix, False, False)
    for _ in range(2):
        assert caller.post(f"/api/tokens/{token.pk}/revoke").json()["revoked_at"] is not None
    assert by_token.get("/api/tasks").status_code == 401
    assert audit() == ["Created for dana.", "Revoked."]


def test_only_superusers_create_tokens_for_others(caller_with):
    User.objects.create_user("kim")
    caller = caller_with("add_token")

    assert problem_of(caller.post("/api/tokens", {"name": "x", "username": "kim"}))[:2] == (403, "not-allowed")
    User.objects.filter(username="dana").update(is_superuser=True)
    assert caller.post("/api/tokens", {"name": "x", "username": "kim"}).json()["user"] == "kim"
    refused = caller.post("/api/tokens", {"name": "x", "username": "stranger"})
    assert problem_of(refused)[::2] == (422, ["/username"])
    assert Token.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "pointer"),
    [({}, "/name"), ({"name": "x", "expires_in_days": 0}, "/expires_in_days"), ({"name": "x\0"}, "/name")],
)
def test_an_invalid_token_is_refused(caller_with, body, pointer):
    assert problem_of(caller_with("add_token").post("/api/tokens", body))[::2] == (422, [pointer])


def test_tokens_need_their_permissions(caller_with):
    caller = caller_with("view_task")

    for response in (
        caller.get("/api/tokens"),
        caller.post("/api/tokens", {"name": "x"}),
        caller.post("/api/tokens/1/revoke"),
    ):
        assert problem_of(response)[:2] == (403, "not-allowed")


def test_a_permission_closes_a_pipeline_changes_and_goes(caller_with):
    Group.objects.create(name="others")
    names = [f"{verb}_pipelinepermission" for verb in ("view", "add", "change", "delete")]
    caller = caller_with(*names, "add_task")
    body = {"pipeline": "shop/order", "payload": {"number": "A1"}}

    response = caller.post("/api/permissions", {"pipeline": "shop/order", "group": "others", "run": True})
    assert caller.post("/api/tasks", body).status_code == 403
    address = response["Location"]
    assert address == f"/api/permissions/{response.json()['id']}"
    changed = caller.patch(address, {"run": False, "cancel": True}).json()
    assert (changed["run"], changed["cancel"], changed["group"], changed["user"]) == (False, True, "others", None)
    assert caller.get("/api/permissions").json()["permissions"] == [caller.get(address).json()] == [changed]
    assert caller.delete(address).status_code == 204
    assert caller.post("/api/tasks", body).status_code == 202
    assert audit() == ["Permitted: run.", "Permitted: cancel.", "Permitted: cancel."]


@pytest.mark.parametrize(
    ("values", "pointer"),
    [
        ({"pipeline": "none"}, "/pipeline"),
        ({"user": "stranger"}, "/user"),
        ({"group": "none"}, "/group"),
        ({}, ""),
        ({"user": "dana", "group": "others"}, ""),
        ({"user": "kim"}, ""),  # who has one
    ],
)
def test_an_invalid_permission_is_refused(caller_with, values, pointer):
    caller = caller_with("add_pipelinepermission")
    grant(user=User.objects.create_user("kim"))
    Group.objects.get_or_create(name="others")

    response = caller.post("/api/permissions", {"pipeline": "shop/order", **values})

    assert problem_of(response)[::2] == (422, [pointer])
    assert PipelinePermission.objects.count() == 1


def test_permissions_need_their_permissions(caller_with):
    permission = grant()
    caller, address = caller_with("view_task"), f"/api/permissions/{permission.pk}"

    for response in (
        caller.get("/api/permissions"), caller.post("/api/permissions", {}), caller.get(address),
        caller.patch(address, {}), caller.delete(address),
    ):  # fmt: skip
        assert problem_of(response)[:2] == (403, "not-allowed")
