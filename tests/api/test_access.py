"""Authentication and permissions of every endpoint."""

from __future__ import annotations

import json

import pytest
from django.test import Client

from taskqueue.api.authentication import RequiredPermissions
from taskqueue.api.health import LivenessView, ReadinessView
from taskqueue.api.openapi.pages import SchemaView
from taskqueue.api.tasks.questions import QuestionListView, TaskAnswerView
from taskqueue.api.views import NotFoundView
from taskqueue.urls import urlpatterns
from tests.support.api import BODY, ENDPOINTS, call, enqueue_order, problem_of

PERMISSIONS = {permission for _method, _path, permission in ENDPOINTS}


@pytest.mark.parametrize(("method", "path", "permission"), ENDPOINTS)
def test_a_request_without_login_is_answered_401(anonymous, queued, method, path, permission):
    response = call(anonymous, method, path, queued)

    assert problem_of(response) == (401, "login-required", [])
    assert response["WWW-Authenticate"]


@pytest.mark.parametrize(("method", "path", "permission"), ENDPOINTS)
def test_the_permission_of_the_endpoint_and_view_task_are_enough(caller_with, failed, method, path, permission):
    task = enqueue_order("A") if "cancel" in path else failed
    caller = caller_with(permission, *({"view_task"} if "{id}" in path else ()))

    assert call(caller, method, path, task).status_code in {200, 202}


@pytest.mark.parametrize(("method", "path", "permission"), [each for each in ENDPOINTS if "{id}" in each[1]])
def test_without_view_task_no_action_is_allowed(caller_with, failed, method, path, permission):
    caller = caller_with(*PERMISSIONS - {"view_task"})

    assert problem_of(call(caller, method, path, failed)) == (403, "not-allowed", [])


@pytest.mark.parametrize(("method", "path", "permission"), ENDPOINTS)
def test_without_its_permission_an_endpoint_is_refused_by_name(caller_with, queued, method, path, permission):
    response = call(caller_with(*PERMISSIONS - {permission}), method, path, queued)

    assert problem_of(response) == (403, "not-allowed", [])
    assert response.json()["detail"] == f"Your account lacks the permission taskqueue.{permission}."


def test_a_refusal_names_all_permissions_that_are_missing(caller_with, queued):
    response = caller_with().post(f"/api/tasks/{queued.pk}/retry")

    needed = "taskqueue.view_task and taskqueue.retry_task"
    assert response.json()["detail"] == f"Your account lacks the permissions {needed}."


def test_a_user_who_is_not_staff_is_refused(caller_with):
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


def test_in_debug_local_callers_need_no_login(api):
    assert api.get("/api/tasks").status_code == 200
    assert api.post("/api/tasks", BODY).status_code == 202


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_in_debug_every_loopback_address_is_local(api, address):
    assert Client(REMOTE_ADDR=address, SERVER_NAME="localhost").get("/api/tasks").status_code == 200


@pytest.mark.parametrize("address", ["10.0.0.7", "::ffff:10.0.0.7", "2001:db8::1", "", "unix:"])
def test_in_debug_other_machines_need_a_login(api, address):
    assert problem_of(Client(REMOTE_ADDR=address, SERVER_NAME="localhost").get("/api/tasks")) == (
        401,
        "login-required",
        [],
    )


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "Via"])
def test_in_debug_a_local_proxy_needs_a_login(api, header):
    response = api.client.get("/api/tasks", headers={header: "127.0.0.1"})

    assert problem_of(response) == (401, "login-required", [])


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:3000", "null"])
def test_in_debug_another_sites_page_cannot_act(api, queued, origin):
    response = api.post(f"/api/tasks/{queued.pk}/cancel", Origin=origin)

    assert problem_of(response) == (401, "login-required", [])


def test_in_debug_the_services_own_page_can_act(api, queued):
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
def test_in_debug_a_foreign_host_name_needs_a_login(api, settings, host, status):
    settings.ALLOWED_HOSTS = ["*"]

    assert api.client.get("/api/tasks", headers={"Host": host}).status_code == status


def test_without_debug_local_callers_need_a_login(anonymous):
    assert anonymous.client.get("/api/tasks", REMOTE_ADDR="127.0.0.1").status_code == 401


@pytest.mark.parametrize("path", ["/api/health/live", "/api/health/ready"])
def test_health_is_open_to_everyone(anonymous, path):
    assert anonymous.get(path).status_code == 200


def test_the_schema_needs_a_staff_login(anonymous, caller_with):
    assert json.loads(anonymous.get("/api/schema").content)["code"] == "login-required"
    assert caller_with().get("/api/schema").status_code == 200


@pytest.mark.parametrize("path", ["/api/docs", "/api/redoc"])
def test_the_pages_send_strangers_to_the_login(anonymous, caller_with, path):
    assert anonymous.get(path)["Location"] == f"/admin/login/?next={path}"
    assert caller_with().get(path).status_code == 200


def test_only_health_checks_need_no_permission():
    """A new endpoint must declare its permissions."""
    views = [pattern.callback.view_class for pattern in urlpatterns if hasattr(pattern.callback, "view_class")]
    unguarded = {view for view in views if RequiredPermissions not in view.permission_classes}
    needless = {
        view for view in views if RequiredPermissions in view.permission_classes and not view.required_permissions
    }

    assert len(views) > 15
    assert unguarded == {LivenessView, ReadinessView, NotFoundView}
    # Any staff user or token may read the schema; questions are for those whom they name, who need no permission.
    assert needless == {SchemaView, QuestionListView, TaskAnswerView}
