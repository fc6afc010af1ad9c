"""Permissions for single pipelines: list, create, change and delete them."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import transaction
from django.urls import reverse
from pydantic import Field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api.authentication import actor_of
from taskqueue.api.fields import Text
from taskqueue.api.json_parser import parse_body
from taskqueue.api.openapi.operations import location, operation
from taskqueue.api.problems import Refusal
from taskqueue.api.requests import Body
from taskqueue.api.rows import find_row, invalid_body
from taskqueue.api.views import ApiView
from taskqueue.engine.access.permissions import Action
from taskqueue.models import Pipeline, PipelinePermission

MAX_SHOWN: Final = 1000


class PermissionBody(Body):
    """What a user or a group may do with a pipeline."""

    pipeline: Text = Field(min_length=1, max_length=200, description="The pipeline's name.")
    user: Text = Field(default="", max_length=150, description="The name of the user; or give a group.")
    group: Text = Field(default="", max_length=150, description="The name of the group; or give a user.")
    run: bool = Field(default=False, description="Submit and rerun tasks.")
    view_payload: bool = Field(default=False, description="See payloads, results, and inputs and outputs of steps.")
    retry: bool = Field(default=False, description="Retry, run now and change tasks.")
    cancel: bool = Field(default=False, description="Cancel tasks.")


class PermissionChange(Body):
    """The actions that change; the others stay."""

    run: bool | None = Field(default=None, description="Submit and rerun tasks.")
    view_payload: bool | None = Field(default=None, description="See payloads and results.")
    retry: bool | None = Field(default=None, description="Retry, run now and change tasks.")
    cancel: bool | None = Field(default=None, description="Cancel tasks.")


class PermissionRecord(serializers.Serializer[Any]):
    """What a user or a group may do with a pipeline."""

    id = serializers.IntegerField()
    pipeline = serializers.CharField(source="pipeline_id")
    user = serializers.CharField(allow_null=True, help_text="Null for a group.")
    group = serializers.CharField(allow_null=True, help_text="Null for a user.")
    run = serializers.BooleanField()
    view_payload = serializers.BooleanField()
    retry = serializers.BooleanField()
    cancel = serializers.BooleanField()


class PermissionList(serializers.Serializer[Any]):
    """Permissions of pipelines, by pipeline."""

    permissions = PermissionRecord(many=True)


class PermissionListView(ApiView):
    required_permissions = {
        "GET": ("taskqueue.view_pipelinepermission",),
        "POST": ("taskqueue.add_pipelinepermission",),
    }

    @operation(
        "listPermissions",
        "List permissions of pipelines",
        f"The first {MAX_SHOWN:,} by pipeline. A pipeline without any is open to all who have the general permission.",
        tag="access",
        success={200: (PermissionList, "The permissions.")},
    )
    def get(self, request: Request) -> Response:
        found = PipelinePermission.objects.select_related("user", "group").order_by("pipeline_id", "pk")[:MAX_SHOWN]
        return Response(PermissionList({"permissions": found}).data)

    @operation(
        "createPermission",
        "Create a permission of a pipeline",
        "The first one closes the pipeline to all users and groups that have none.",
        tag="access",
        success={201: (PermissionRecord, "The permission.")},
        body=PermissionBody,
        headers=(location("permission", 201),),
    )
    def post(self, request: Request) -> Response:
        body = parse_body(PermissionBody, request.data)
        permission = PipelinePermission(
            pipeline_id=body.pipeline,
            user=user_called(body.user),
            group=group_called(body.group),
            **{action.value: getattr(body, action.value) for action in Action},
        )
        check(permission)
        with transaction.atomic():
            permission.save(force_insert=True)
            actor_of(request).record(permission, f"Permitted: {actions_of(permission)}.", added=True)
        address = reverse("taskqueue:permission", args=[permission.pk])
        return Response(PermissionRecord(permission).data, status=201, headers={"Location": address})


class PermissionDetailView(ApiView):
    http_method_names = ["get", "patch", "delete", "head"]
    required_permissions = {
        "GET": ("taskqueue.view_pipelinepermission",),
        "PATCH": ("taskqueue.change_pipelinepermission",),
        "DELETE": ("taskqueue.delete_pipelinepermission",),
    }

    @operation(
        "getPermission",
        "Get a permission of a pipeline",
        "Its user or group, and its actions.",
        tag="access",
        success={200: (PermissionRecord, "The permission.")},
    )
    def get(self, request: Request, permission_id: int) -> Response:
        return Response(PermissionRecord(find(permission_id)).data)

    @operation(
        "changePermission",
        "Change a permission of a pipeline",
        "Changes the actions that the body has.",
        tag="access",
        success={200: (PermissionRecord, "The changed permission.")},
        body=PermissionChange,
        never=(409,),
    )
    def patch(self, request: Request, permission_id: int) -> Response:
        values = parse_body(PermissionChange, request.data).model_dump(exclude_none=True)
        with transaction.atomic():
            find(permission_id)
            if values:
                PipelinePermission.objects.filter(pk=permission_id).update(**values)
                changed = find(permission_id)
                actor_of(request).record(changed, f"Permitted: {actions_of(changed)}.")
        return Response(PermissionRecord(find(permission_id)).data)

    @operation(
        "deletePermission",
        "Delete a permission of a pipeline",
        "With the last one the pipeline is open again to all who have the general permission.",
        tag="access",
        success={204: (None, "It is deleted.")},
    )
    def delete(self, request: Request, permission_id: int) -> Response:
        with transaction.atomic():
            permission = find(permission_id)
            actor_of(request).record_deletion(permission, f"Permitted: {actions_of(permission)}.")
            permission.delete()
        return Response(status=204)


def actions_of(permission: PipelinePermission) -> str:
    return ", ".join(action.value for action in Action if getattr(permission, action.value)) or "nothing"


def user_called(name: str) -> Any:
    if not name:
        return None
    users = get_user_model()
    found = users._default_manager.filter(**{users.USERNAME_FIELD: name}).first()
    if found is None:
        raise missing("/user", f"user {name!r}")
    return found


def group_called(name: str) -> Any:
    found = Group.objects.filter(name=name).first() if name else None
    if name and found is None:
        raise missing("/group", f"group {name!r}")
    return found


def missing(pointer: str, what: str) -> Refusal:
    return invalid_body(pointer, f"There is no {what}.")


def check(permission: PipelinePermission) -> None:
    """Check a new permission.

    Raises:
        Refusal: 422, with a pointer.
    """
    if not Pipeline.objects.filter(pk=permission.pipeline_id).exists():
        raise missing("/pipeline", f"pipeline {permission.pipeline_id!r}")
    try:
        permission.full_clean()
    except ValidationError as error:
        raise invalid_body("", " ".join(error.messages)) from error


def find(permission_id: int) -> PipelinePermission:
    """A permission by its id.

    Raises:
        Refusal: 404.
    """
    rows = PipelinePermission.objects.select_related("user", "group")
    return find_row(rows, permission_id, f"No permission has the id {permission_id}.")
