"""What people do in the admin, programs do by the API, with the same permission.

The table names the endpoint of each action. An action that is added to the admin fails here until the table names its
endpoint, or says why it has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.test import RequestFactory
from django.urls import resolve, reverse

from taskqueue.admin.shared.models import BaseAdmin
from taskqueue.api.openapi.schema import current_schema
from taskqueue.engine.access.permissions import MODEL_PERMISSIONS
from taskqueue.engine.maintenance.bulk_operations import REQUIRED_ACTION
from taskqueue.states import BulkOperationVerb

ID = "0192d5a0-7c1e-7b3a-9f4e-2d6c8a1b5e90"
TWINS = {
    # views that take a POST
    "task: retry": ("retryTask", "retry_task"),
    "task: rerun": ("rerunTask", "add_task"),
    "task: edit": ("rerunTask", "add_task"),
    "task: run_now": ("runTaskNow", "retry_task"),
    "task: cancel": ("cancelTask", "cancel_task"),
    "pipeline: pause": ("pausePipeline", "pause_pipeline"),
    "pipeline: resume": ("resumePipeline", "pause_pipeline"),
    "pipeline: move": ("changePipeline", "change_pipeline"),
    "pipeline: limits": ("changeConcurrencyLimit", "change_concurrencylimit"),
    "pipeline: throttle": ("changeRateLimit", "change_ratelimit"),
    "pipeline: submit": ("createTask", "add_task"),
    "event: send": ("sendEvent", "add_event"),
    "worker: drain": ("drainWorker", "change_worker"),
    "worker: resume": ("resumeWorker", "change_worker"),
    "ratelimit: block": ("blockRateLimit", "change_ratelimit"),
    "ratelimit: unblock": ("unblockRateLimit", "change_ratelimit"),
    "schedule: run": ("runSchedule", "add_task"),
    "subscription: rotate": ("rotateSubscription", "change_subscription"),
    "subscription: test": ("testSubscription", "change_subscription"),
    "alertrule: test": ("testAlertRule", "change_alertrule"),
    "alertrule: silence": ("silenceAlertRule", "change_alertrule"),
    "alertrule: end_silence": ("endSilenceOfAlertRule", "change_alertrule"),
    "bulkoperation: new": ("createBulkOperation", ""),  # the permission of its action: see below
    "bulkoperation: abort": ("abortBulkOperation", ""),
    # actions of lists, which the API does one by one, or for all that match
    "task: retry_selected": ("createBulkOperation", ""),
    "task: run_now_selected": ("createBulkOperation", ""),
    "task: cancel_selected": ("createBulkOperation", ""),
    "task: rerun_selected": ("createBulkOperation", ""),
    "worker: drain_selected": ("drainWorker", "change_worker"),
    "worker: resume_selected": ("resumeWorker", "change_worker"),
    "ratelimitbucket: unblock_selected": ("unblockRateLimit", "change_ratelimit"),
    "token: revoke_selected": ("revokeToken", "change_token"),
    "subscription: enable_selected": ("changeSubscription", "change_subscription"),
    "subscription: disable_selected": ("changeSubscription", "change_subscription"),
    "subscription: delete_selected": ("deleteSubscription", "delete_subscription"),
    # forms to add, change and delete a row
    "concurrencylimit: change form": ("changeConcurrencyLimit", "change_concurrencylimit"),
    "ratelimit: change form": ("changeRateLimit", "change_ratelimit"),
    "token: add form": ("createToken", "add_token"),
    "subscription: add form": ("createSubscription", "add_subscription"),
    "subscription: change form": ("changeSubscription", "change_subscription"),
    "subscription: delete form": ("deleteSubscription", "delete_subscription"),
    "alertrule: add form": ("createAlertRule", "add_alertrule"),
    "alertrule: change form": ("changeAlertRule", "change_alertrule"),
    "alertrule: delete form": ("deleteAlertRule", "delete_alertrule"),
    "pipelinepermission: add form": ("createPermission", "add_pipelinepermission"),
    "pipelinepermission: change form": ("changePermission", "change_pipelinepermission"),
    "pipelinepermission: delete form": ("deletePermission", "delete_pipelinepermission"),
}
"""By action of the admin: its operation in the API, and the permission that both need."""

LISTS = {
    "task": "listTasks",
    "pipeline": "listPipelines",
    "event": "listEvents",
    "worker": "listWorkers",
    "schedule": "listSchedules",
    "skip": "listSkips",
    "concurrencylimit": "listConcurrencyLimits",
    "ratelimit": "listRateLimits",
    "ratelimitbucket": "getRateLimit",
    "bulkoperation": "listBulkOperations",
    "alertrule": "listAlertRules",
    "subscription": "listSubscriptions",
    "token": "listTokens",
    "pipelinepermission": "listPermissions",
    "question": "listQuestions",  # its page is the form that answers it: answerTask
    "overview": "",  # charts; programs read the metrics
}
"""By model, the operation that lists what its page in the admin lists."""


@pytest.fixture
def superuser_request(db: None) -> Any:
    request = RequestFactory().get("/admin/")
    request.user = User.objects.create_superuser("root")
    return request


def our_admins() -> dict[str, BaseAdmin[Any]]:
    return {
        str(model._meta.model_name): each
        for model, each in admin.site._registry.items()
        if model._meta.app_label == "taskqueue" and isinstance(each, BaseAdmin)
    }


def actions_of(model: str, model_admin: BaseAdmin[Any], request: Any) -> Iterator[str]:
    """What a superuser can change in the pages of a model."""
    for _path, name, _view, methods in model_admin.views:
        if "POST" in methods:
            yield f"{model}: {name}"
    for name in model_admin.get_actions(request):
        yield f"{model}: {name}"
    if model_admin.has_add_permission(request):
        yield f"{model}: add form"
    if model_admin.has_change_permission(request):
        yield f"{model}: change form"
    if model_admin.has_delete_permission(request):
        yield f"{model}: delete form"


def required_permissions() -> dict[str, set[str]]:
    """By operation of the API, the permissions that its view requires, without those to view."""
    values = {"name": "shop/order", "rate": "a", **dict.fromkeys(("task_id", "event_id", "operation_id"), ID)}
    values |= dict.fromkeys(("subscription_id", "worker_id", "token_id", "permission_id", "rule_id"), "1")
    required = {}
    for path, operations in current_schema()["paths"].items():
        view: Any = resolve(path.format(**values)).func
        for method, operation in operations.items():
            names = getattr(view.view_class, "required_permissions", {}).get(method.upper(), ())
            required[operation["operationId"]] = {name.removeprefix("taskqueue.") for name in names}
    return required


def test_each_action_of_the_admin_has_an_endpoint(superuser_request):
    found = {action for model, each in our_admins().items() for action in actions_of(model, each, superuser_request)}

    assert found == set(TWINS), "Name the endpoint of a new action in TWINS, or take out the one that is gone."


@pytest.mark.parametrize(("operation", "permission"), sorted(set(TWINS.values())))
def test_the_endpoint_needs_the_permission_of_the_action(db, operation, permission):
    required = required_permissions()[operation]

    assert {name for name in required if not name.startswith("view_")} == ({permission} if permission else set())


def test_the_admin_needs_these_permissions_too(superuser_request):
    """A user with all permissions but one finds neither the action nor the form that needs it."""
    for action, (_operation, permission) in TWINS.items():
        model, _colon, name = action.partition(": ")
        if not name.endswith(("_selected", " form")) or not permission:
            continue
        user = User.objects.create_user(action, is_staff=True)
        ours = Permission.objects.filter(content_type__app_label="taskqueue")
        user.user_permissions.set(ours.exclude(codename=permission))
        superuser_request.user = User.objects.get(pk=user.pk)

        assert action not in actions_of(model, our_admins()[model], superuser_request), action


VIEWS = sorted(
    (model, name, permission)
    for action, (_operation, permission) in TWINS.items()
    for model, _colon, name in [action.partition(": ")]
    if permission and not name.endswith(("_selected", " form"))
)


@pytest.mark.parametrize(("model", "name", "permission"), VIEWS)
def test_a_button_of_the_admin_needs_the_permission_of_its_endpoint(db, client, model, name, permission):
    user = User.objects.create_user("all-but-one", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="taskqueue"))
    client.force_login(user)
    of_a_row = [] if model == "event" else [{"task": ID, "worker": 1}.get(model, "shop/order")]
    address = reverse(f"admin:taskqueue_{model}_{name}", args=of_a_row)
    assert client.post(address).status_code in {200, 302}

    user.user_permissions.remove(Permission.objects.get(content_type__app_label="taskqueue", codename=permission))

    assert client.post(address).status_code == 403


@pytest.mark.parametrize("verb", list(BulkOperationVerb))
def test_a_bulk_operation_needs_the_permission_of_its_action(verb):
    """The view asks for it by the same table as the admin; test_bulk_operations shows the refusals."""
    single = {"retry": "retryTask", "cancel": "cancelTask", "rerun": "rerunTask", "run-now": "runTaskNow"}[verb]

    required = {name for name in required_permissions()[single] if not name.startswith("view_")}
    assert required == {MODEL_PERMISSIONS[REQUIRED_ACTION[verb]].removeprefix("taskqueue.")}


def test_each_list_of_the_admin_has_an_endpoint(db):
    assert set(our_admins()) == set(LISTS)
    assert {name for name in LISTS.values() if name} <= set(required_permissions())
