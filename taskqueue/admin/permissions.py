"""Permissions for single pipelines: the users and groups that may act on the tasks of a pipeline."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from taskqueue.admin.shared.models import ChangeableAdmin
from taskqueue.engine.access.permissions import Action
from taskqueue.models import PipelinePermission


@admin.register(PipelinePermission)
class PipelinePermissionAdmin(ChangeableAdmin[PipelinePermission]):
    list_display = ("pipeline", "grantee", *Action)
    list_select_related = ("user", "group")
    ordering = ("pipeline_id", "pk")
    search_fields = ("pipeline__name__startswith",)
    search_help_text = "Search by the beginning of the pipeline's name."
    raw_id_fields = ("user",)
    fieldsets = (
        (
            None,
            {
                "fields": ("pipeline", "user", "group", *Action),
                "description": (
                    "The first permission of a pipeline restricts it to the users and groups listed here, and to "
                    "superusers. Each action needs the user's general permission too."
                ),
            },
        ),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("taskqueue.add_pipelinepermission")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("taskqueue.delete_pipelinepermission")

    @admin.display(description="User or group")
    def grantee(self, permission: PipelinePermission) -> str:
        return f"group {permission.group}" if permission.group_id is not None else str(permission.user)
