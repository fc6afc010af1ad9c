"""The admin of tasks: the list, a page per task, and the URLs of its actions."""

from __future__ import annotations

from functools import partial, partialmethod
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path
from django.views.decorators.http import require_http_methods

from taskqueue.admin.search import syntax
from taskqueue.admin.shared import filters as shared_filters
from taskqueue.admin.shared import html
from taskqueue.admin.shared.details import audit_entries_of
from taskqueue.admin.shared.models import ReadOnlyAdmin
from taskqueue.admin.shared.pages import admin_page
from taskqueue.admin.shared.timeouts import limit_read_time
from taskqueue.admin.task import actions, confirm, download, edit
from taskqueue.admin.task.buttons import AllowedActions, action_buttons, neighbour_buttons, why_no_retry_from
from taskqueue.admin.task.details import bulk_entries_of, details_of
from taskqueue.admin.task.links import TaskLinks
from taskqueue.admin.task.page import TaskPage, page_of
from taskqueue.admin.tasks import bulk, columns, export, filters
from taskqueue.admin.tasks.changelist import TaskChangeList
from taskqueue.engine.access import permissions
from taskqueue.engine.queries import tasks
from taskqueue.errors import TaskNotFound
from taskqueue.models import Task

GET = ("GET", "HEAD")
URLS = (
    ("export/<str:file_format>/", "export", export.export_view, GET),
    ("<path:object_id>/retry/", "retry", confirm.retry_view, (*GET, "POST")),
    ("<path:object_id>/rerun/", "rerun", confirm.rerun_view, (*GET, "POST")),
    ("<path:object_id>/edit/", "edit", edit.edit_view, (*GET, "POST")),
    ("<path:object_id>/run_now/", "run_now", actions.run_now_view, ("POST",)),
    ("<path:object_id>/cancel/", "cancel", actions.cancel_view, ("POST",)),
    ("<path:object_id>/download/<slug:what>/", "download", download.download_view, ("GET",)),
)
"""Path, the end of its name `taskqueue_task_<…>`, view and methods."""


@admin.register(Task)
class TaskAdmin(ReadOnlyAdmin[Task]):
    """Tasks, newest first."""

    list_display = columns.COLUMNS  # type: ignore[assignment]  # annotated tasks
    list_display_links = (columns.task_name,)  # type: ignore[assignment]
    list_filter = (
        filters.StatusFilter, filters.FailureFilter, filters.RepairedFilter, shared_filters.PipelineFilter,
        filters.CreatedFilter, filters.EndedFilter, filters.ErrorFilter, filters.LabelFilter, filters.RetriedFilter,
    )  # fmt: skip
    ordering = ("-id",)
    search_fields = ("id", "key")
    search_help_text = syntax.HELP
    actions = (bulk.retry_selected, bulk.run_now_selected, bulk.cancel_selected, bulk.rerun_selected)

    def get_urls(self) -> list[URLPattern]:
        """Our URLs before Django's own, which match any path as an id."""
        ours = [
            path(
                route,
                self.admin_site.admin_view(require_http_methods(list(methods))(partial(view, self))),
                name=f"taskqueue_task_{name}",
            )
            for route, name, view, methods in URLS
        ]
        return [*ours, *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        return columns.listing()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return TaskChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Task], search_term: str
    ) -> tuple[QuerySet[Task], bool]:
        """Unchanged: `TaskChangeList` has applied the search term already."""
        return queryset, False

    def has_action_permission(self, action: str, request: HttpRequest) -> bool:
        """Whether the user may take an action on tasks; the bulk actions name it."""
        return bool(getattr(actions.allowed_actions(self, request), action))

    has_retry_permission = partialmethod(has_action_permission, "retry")
    has_run_now_permission = partialmethod(has_action_permission, "run_now")
    has_cancel_permission = partialmethod(has_action_permission, "cancel")
    has_rerun_permission = partialmethod(has_action_permission, "rerun")

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Task], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Run a bulk action; keys that are not valid ids are dropped before."""
        bulk.drop_invalid_ids(request)
        return super().response_action(request, queryset, *args, **kwargs)

    @limit_read_time
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, with links to bulk operations and exports."""
        return super().changelist_view(request, {**bulk.links(self, request), **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A task's page; the id of a parallel step redirects to its parent."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method not in GET:
            return HttpResponseNotAllowed(GET)
        show_all = request.GET.get("steps") == "all"
        try:
            page = page_of(UUID(object_id), permissions.CallerPermissions(request.user), show_all=show_all)
        except ValueError:
            return actions.task_not_found(self, request, object_id)
        except TaskNotFound:
            parent = tasks.parent_of(UUID(object_id))
            if parent is None:
                return actions.task_not_found(self, request, object_id)
            return HttpResponseRedirect(actions.task_url(parent))
        allowed = actions.allowed_actions(self, request, pipeline=page.task.pipeline_id)
        context = {
            **page_context(page, allowed, TaskLinks(self.admin_site, request)),
            "history": [
                *audit_entries_of(page.history, page.now),
                *bulk_entries_of(page.task, page.now, request),
            ],
            "show_all": show_all,
            **(extra_context or {}),
        }
        title = f"{page.task.pipeline_id} {page.task.key}".strip()
        return admin_page(self, request, "task/change_form.html", title, context)


def page_context(page: TaskPage, allowed: AllowedActions, links: TaskLinks) -> dict[str, Any]:
    """The template context of a task's page, without its activity."""
    return {
        "page": page,
        "status_badge": html.badge(page.task.status),
        "details": details_of(page, links),
        "pipeline": links.pipeline(page.task),
        "buttons": action_buttons(page, allowed),
        "neighbours": neighbour_buttons(page),
        "may_retry": allowed.retry,
        "may_cancel": allowed.cancel,
        "why_no_retry": why_no_retry_from(page.task),
        "retry_icon": html.icon("again"),
    }
