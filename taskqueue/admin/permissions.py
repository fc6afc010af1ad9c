"""Rights of single pipelines in the admin: who is named, and for what."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from taskqueue.admin.shared.models import ChangeableAdmin
from taskqueue.engine.access.permissions import Action
from taskqueue.models import PipelinePermission


@admin.register(PipelinePermission)
class PipelinePermissionAdmin(ChangeableAdmin[PipelinePermission]):
    """Who may act on a pipeline's tasks, once not everybody may. What is changed here is in the history, as always."""

    list_display = ("pipeline", "shown_who", *Action)
    list_select_related = ("user", "group")
    ordering = ("pipeline_id", "pk")
    search_fields = ("pipeline__name__startswith",)
    search_help_text = "Finds pipelines whose names begin with what you type."
    raw_id_fields = ("user",)
    fieldsets = (
        (
            None,
            {
                "fields": ("pipeline", "user", "group", *Action),
                "description": (
                    "The first right closes a pipeline to everybody who is not named here, superusers apart. "
                    "Each deed needs its permission as well."
                ),
            },
        ),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """People name each other here; the code does not."""
        return request.user.has_perm("taskqueue.add_pipelinepermission")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The last one to go opens the pipeline again."""
        return request.user.has_perm("taskqueue.delete_pipelinepermission")

    def get_queryset(self, request: HttpRequest) -> QuerySet[PipelinePermission]:
        """With those who are named."""
        return PipelinePermission.objects.select_related("user", "group")

    @admin.display(description="Who")
    def shown_who(self, right: PipelinePermission) -> str:
        """The user or the group."""
        return f"group {right.group}" if right.group_id is not None else str(right.user)
