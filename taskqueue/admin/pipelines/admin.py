"""Pipelines: list and page. The deployed code defines them; here they are paused, limited and moved to other queues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed

from taskqueue.admin.pipelines import graph
from taskqueue.admin.pipelines.columns import COLUMNS, RUN, PipelineChangeList, pause_switch, pause_text
from taskqueue.admin.pipelines.filters import ConditionFilter, GroupFilter, OrderFilter, QueueFilter
from taskqueue.admin.pipelines.limits import (
    CHANGE_CONCURRENCY_LIMIT,
    CHANGE_RATE_LIMIT,
    LimitsForm,
    ThrottleForm,
    limits_view,
    throttle_view,
)
from taskqueue.admin.pipelines.page import PipelinePage, page_of
from taskqueue.admin.pipelines.pause import PAUSE, pause_view, resume_view
from taskqueue.admin.pipelines.queue import MOVE, QueueForm, move_view
from taskqueue.admin.pipelines.submit import submit_view
from taskqueue.admin.rate_limits.admin import limit_in_code
from taskqueue.admin.shared import formats
from taskqueue.admin.shared.links import list_url
from taskqueue.admin.shared.models import ReadOnlyAdmin
from taskqueue.admin.shared.pages import FORM, POST, admin_page, redirect
from taskqueue.engine.access.permissions import Action, CallerPermissions
from taskqueue.models import Pipeline


@admin.register(Pipeline)
class PipelineAdmin(ReadOnlyAdmin[Pipeline]):
    list_display = COLUMNS
    list_display_links = COLUMNS[:1]
    buttons_need = RUN
    views = (
        ("<path:object_id>/pause/", "pause", pause_view, POST),
        ("<path:object_id>/resume/", "resume", resume_view, POST),
        ("<path:object_id>/move/", "move", move_view, POST),
        ("<path:object_id>/limits/", "limits", limits_view, POST),
        ("<path:object_id>/throttle/", "throttle", throttle_view, POST),
        ("<path:object_id>/submit/", "submit", submit_view, FORM),
    )
    ordering = ("name",)
    list_filter = (GroupFilter, QueueFilter, ConditionFilter, OrderFilter)
    search_fields = ("name__icontains",)
    search_help_text = "Search by any part of the name."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Pipeline]:
        pipelines = super().get_queryset(request).select_related("concurrency_limit__rate")
        return pipelines.defer("payload_schema", "payload_example", "result_schema", "policies", "retry")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return PipelineChangeList

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method == "POST":
            raise PermissionDenied  # pipelines are changed by a deploy only
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        return self.show_page(request, object_id)

    def show_page(
        self, request: HttpRequest, object_id: str, *, forms: Mapping[Any, Any] | None = None
    ) -> HttpResponse:
        """A pipeline's page; `forms` are sent forms with errors, by their prefix."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        name = unquote(object_id)
        page = None if "\x00" in name else page_of(name)
        if page is None:
            return redirect(self, request, list_url("pipeline"), f"There is no pipeline {name}.", messages.WARNING)
        context = {
            **page_context(page, request.user),
            **limit_forms(page, request.user),
            "move": QueueForm(page.pipeline) if request.user.has_perm(MOVE) else None,
            **(forms or {}),
            # With a form, the address is that of a POST view and cannot be refreshed by GET.
            "is_live": not forms,
        }
        return admin_page(self, request, "pipeline/change_form.html", name, context)


def page_context(page: PipelinePage, user: Any) -> dict[str, Any]:
    pipeline = page.pipeline
    limit = page.concurrency_limit
    return {
        "page": page,
        "pipeline": pipeline,
        "switch": pause_switch(pipeline, may_pause=user.has_perm(PAUSE)),
        "pause": pause_text(pipeline),
        "may_run": CallerPermissions(user).may(Action.RUN, pipeline.name),
        "stages": graph.stages_of(page.steps),
        "throttle_in_code": limit_in_code(limit.rate) if limit is not None and limit.rate is not None else "",
        "retry": formats.retry_policy(pipeline.retry),
        "documents": [
            ("Example payload", formats.excerpt(pipeline.payload_example)),
            ("Payload schema", formats.excerpt(pipeline.payload_schema)),
            ("Result schema", formats.excerpt(pipeline.result_schema)),
            ("Policies in code", formats.excerpt(pipeline.policies)),
        ],
        "registered": formats.exact(pipeline.registered_at),
        "updated": formats.exact(pipeline.updated_at),
    }


def limit_forms(page: PipelinePage, user: Any) -> dict[str, Any]:
    """The forms for the limits that the user may change, by their prefix; None for the others."""
    limit = page.concurrency_limit
    if limit is None:
        return {"limits": None, "throttle": None}
    may_throttle = limit.rate is not None and user.has_perm(CHANGE_RATE_LIMIT)
    return {
        "limits": LimitsForm(instance=limit) if user.has_perm(CHANGE_CONCURRENCY_LIMIT) else None,
        "throttle": ThrottleForm(instance=limit.rate) if may_throttle else None,
    }
