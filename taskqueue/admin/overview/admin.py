"""The overview under any admin site: `taskqueue/overview/`."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST, require_safe

from taskqueue.admin.overview import example_pipeline, page
from taskqueue.admin.shared.models import ReadOnlyAdmin
from taskqueue.models import Overview


@admin.register(Overview)
class OverviewAdmin(ReadOnlyAdmin[Overview]):
    """The overview, for users who may view tasks. It has no rows to list or open."""

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("", wrap(require_safe(self.overview_view)), name="taskqueue_overview_changelist"),
            path("first-task/", wrap(require_POST(example_pipeline.submit_example)), name="taskqueue_first_task"),
        ]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return page.may_view(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def overview_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return page.page(request, self.admin_site, {})
