"""Who may call what."""

from __future__ import annotations

import json

import pytest
from django.test import Client

from taskqueue.api.authentication import Access
from taskqueue.api.health import Live, Readiness
from taskqueue.api.openapi.pages import SchemaPlace
from taskqueue.api.views import Nowhere
from taskqueue.urls import urlpatterns
from tests.support.api import BODY, DOORS, call, enqueue_order, problem_of

PERMISSIONS = {permission for _method, _path, permission in DOORS}


@pytest.mark.parametrize(("method", "path", "permission"), DOORS)
def test_without_a_login_nothing_is_told(stranger, queued, method, path, permission):
    response = call(stranger, method, path, queued)

    assert problem_of(response) == (401, "login-required", [])
    assert response["WWW-Authenticate"]


@pytest.mark.parametrize(("method", "path", "permission"), DOORS)
def test_the_permission_for_the_deed_is_enough_for_whoever_may_see_the_task(
    caller_with, failed, method, path, permission
):
    task = enqueue_order("A") if "cancel" in path else failed
    caller = caller_with(permission, *({"view_task"} if "{id}" in path else ()))

    assert call(caller, method, path, task).status_code in {200, 202}


@pytest.mark.parametrize(("method", "path", "permission"), [door for door in DOORS if "{id}" in door[1]])
def test_who_may_not_see_a_task_may_do_nothing_to_it(caller_with, failed, method, path, permission):
    caller = caller_with(*PERMISSIONS - {"view_task"})

    assert problem_of(call(caller, method, path, failed)) == (403, "not-allowed", [])


@pytest.mark.parametrize(("method", "path", "permission"), DOORS)
def test_the_other_permissions_are_not(caller_with, queued, method, path, permission):
    caller = caller_with(*PERMISSIONS - {permission})

    assert problem_of(call(caller, method, path, queued)) == (403, "not-allowed", [])


@pytest.mark.parametrize(("method", "path", "permission"), DOORS)
def test_a_refusal_names_the_missing_permission(caller_with, queued, method, path, permission):
    response = call(caller_with(*PERMISSIONS - {permission}), method, path, queued)

    assert response.json()["detail"] == f"Your account lacks the permission taskqueue.{permission}."


def test_a_refusal_names_all_permissions_that_are_missing(caller_with, queued):
    response = caller_with().post(f"/api/tasks/{queued.pk}/retry")

    needed = "taskqueue.view_task and taskqueue.retry_task"
    assert response.json()["detail"] == f"Your account lacks the permissions {needed}."


def test_who_is_not_staff_is_refused(caller_with):
    response = caller_with(*PERMISSIONS, is_staff=False).get("/api/tasks")

    assert problem_of(response) == (403, "not-allowed", [])
    assert "needs a staff account, or a token" in response.json()["detail"]


def test_a_superuser_may_do_everything(admin_client, queued):
    assert admin_client.get("/api/tasks").status_code == 200
    assert admin_client.post(f"/api/tasks/{queued.pk}/cancel", content_type="application/json").status_code == 200


def test_a_login_without_a_csrf_token_changes_nothing(caller_with, queued):
    caller = caller_with("cancel_task", enforce_csrf_checks=True)

    response = caller.post(f"/api/tasks/{queued.pk}/cancel")

    assert problem_of(response) == (403, "not-allowed", [])
    assert "CSRF" in response.json()["detail"]


def test_in_debug_this_machine_needs_no_login(api):
    assert api.get("/api/tasks").status_code == 200
    assert api.post("/api/tasks", BODY).status_code == 202


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_in_debug_every_loopback_address_is_this_machine(api, address):
    assert Client(REMOTE_ADDR=address, SERVER_NAME="localhost").get("/api/tasks").status_code == 200


@pytest.mark.parametrize("address", ["10.0.0.7", "::ffff:10.0.0.7", "2001:db8::1", "", "unix:"])
def test_in_debug_another_machine_needs_a_login(api, address):
    assert problem_of(Client(REMOTE_ADDR=address, SERVER_NAME="localhost").get("/api/tasks")) == (
        401,
        "login-required",
        [],
    )


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "Via"])
def test_in_debug_a_proxy_on_this_machine_speaks_for_somebody_else(api, header):
    response = api.client.get("/api/tasks", headers={header: "127.0.0.1"})

    assert problem_of(response) == (401, "login-required", [])


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:3000", "null"])
def test_in_debug_a_foreign_page_cannot_act_through_the_browser(api, queued, origin):
    response = api.post(f"/api/tasks/{queued.pk}/cancel", Origin=origin)

    assert problem_of(response) == (401, "login-required", [])


def test_in_debug_our_own_page_can_act(api, queued):
    assert api.post(f"/api/tasks/{queued.pk}/cancel", Origin="http://localhost").status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("tasks.localhost", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("evil.example", 401),
    ],
)
def test_in_debug_a_foreign_name_that_leads_here_opens_nothing(api, settings, host, status):
    settings.ALLOWED_HOSTS = ["*"]

    assert api.client.get("/api/tasks", headers={"Host": host}).status_code == status


def test_without_debug_loopback_is_nothing_special(stranger):
    assert stranger.client.get("/api/tasks", REMOTE_ADDR="127.0.0.1").status_code == 401


@pytest.mark.parametrize("path", ["/api/health/live", "/api/health/ready"])
def test_health_is_open_to_everyone(stranger, path):
    assert stranger.get(path).status_code == 200


def test_the_schema_needs_a_staff_login(stranger, caller_with):
    assert json.loads(stranger.get("/api/schema").content)["code"] == "login-required"
    assert caller_with().get("/api/schema").status_code == 200


@pytest.mark.parametrize("path", ["/api/docs", "/api/redoc"])
def test_the_pages_send_strangers_to_the_login(stranger, caller_with, path):
    assert stranger.get(path)["Location"] == f"/admin/login/?next={path}"
    assert caller_with().get(path).status_code == 200


def test_no_door_but_those_of_health_is_open_by_itself():
    """Whoever adds an endpoint says what it needs, or finds it closed."""
    doors = [pattern.callback.view_class for pattern in urlpatterns if hasattr(pattern.callback, "view_class")]
    unguarded = {door for door in doors if Access not in door.permission_classes}
    needless = {door for door in doors if Access in door.permission_classes and not door.needs}

    assert len(doors) > 15
    assert unguarded == {Live, Readiness, Nowhere}
    assert needless == {SchemaPlace}  # it tells what the code can do, to anybody who may log in or has a token
