"""The admin of tasks: the list, a page per task, and the URLs of its actions."""

from __future__ import annotations

from functools import partialmethod
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect

from taskqueue.admin.search import syntax
from taskqueue.admin.shared import filters as shared_filters
from taskqueue.admin.shared import html
from taskqueue.admin.shared.details import audit_entries_of
from taskqueue.admin.shared.links import page_url
from taskqueue.admin.shared.models import ReadOnlyAdmin
from taskqueue.admin.shared.pages import FORM, GET, POST, admin_page
from taskqueue.admin.shared.timeouts import limit_read_time
from taskqueue.admin.task import confirm, download, edit
from taskqueue.admin.task.actions import allowed_actions, cancel_view, run_now_view, task_not_found
from taskqueue.admin.task.buttons import action_buttons, neighbour_buttons, why_no_retry_from
from taskqueue.admin.task.details import bulk_entries_of, details_of
from taskqueue.admin.task.links import TaskLinks
from taskqueue.admin.task.page import TaskPage, page_of
from taskqueue.admin.tasks import bulk, columns, export, filters
from taskqueue.admin.tasks.changelist import TaskChangeList
from taskqueue.engine.access import permissions
from taskqueue.engine.access.answering import may_answer
from taskqueue.engine.queries import tasks
from taskqueue.errors import TaskNotFound
from taskqueue.models import Question, Task
from taskqueue.states import TaskStatus


@admin.register(Task)
class TaskAdmin(ReadOnlyAdmin[Task]):
    list_display = columns.COLUMNS  # type: ignore[assignment]  # annotated tasks
    list_display_links = (columns.task_name,)  # type: ignore[assignment]
    list_filter = (
        filters.StatusFilter, filters.FailureFilter, filters.RepairedFilter, shared_filters.PipelineFilter,
        filters.CreatedFilter, filters.EndedFilter, filters.ErrorFilter, filters.LabelFilter, filters.RetriedFilter,
    )  # fmt: skip
    ordering = ("-id",)
    search_fields = ("id", "key")
    search_help_text = syntax.HELP
    actions = bulk.ACTIONS
    views = (
        ("export/<str:file_format>/", "export", export.export_view, GET),
        ("<path:object_id>/retry/", "retry", confirm.retry_view, FORM),
        ("<path:object_id>/rerun/", "rerun", confirm.rerun_view, FORM),
        ("<path:object_id>/edit/", "edit", edit.edit_view, FORM),
        ("<path:object_id>/run_now/", "run_now", run_now_view, POST),
        ("<path:object_id>/cancel/", "cancel", cancel_view, POST),
        ("<path:object_id>/download/<slug:what>/", "download", download.download_view, GET),
    )

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
        return action in allowed_actions(self, request)

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
            return task_not_found(self, request, object_id)
        except TaskNotFound:
            parent = tasks.parent_of(UUID(object_id))
            if parent is None:
                return task_not_found(self, request, object_id)
            return HttpResponseRedirect(page_url("task", parent))
        allowed = allowed_actions(self, request, pipeline=page.task.pipeline_id)
        context = {
            **page_context(page, allowed, TaskLinks(self.admin_site, request)),
            "history": [
                *audit_entries_of(page.history, page.now),
                *bulk_entries_of(page.task, page.now, request),
            ],
            "show_all": show_all,
            "questions": questions_of(page.task, permissions.CallerPermissions(request.user)),
            **(extra_context or {}),
        }
        title = f"{page.task.pipeline_id} {page.task.key}".strip()
        return admin_page(self, request, "task/change_form.html", title, context)


def questions_of(task: Task, rights: permissions.CallerPermissions) -> list[tuple[Question, str]]:
    """The open questions of a waiting task, each with the address of its form if the user may answer it."""
    if task.status != TaskStatus.WAITING:
        return []
    found = Question.objects.filter(task=task, outcome="", assignees__isnull=False)
    pipeline = task.pipeline_id
    return [(each, page_url("question", each.pk) if may_answer(each, pipeline, rights) else "") for each in found]


def page_context(page: TaskPage, allowed: set[str], links: TaskLinks) -> dict[str, Any]:
    return {
        "page": page,
        "status_badge": html.badge(page.task.status),
        "details": details_of(page, links),
        "pipeline": links.row("pipeline", page.task.pipeline_id, page.task.pipeline_id),
        "buttons": action_buttons(page, allowed),
        "neighbours": neighbour_buttons(page),
        "may_retry": "retry" in allowed,
        "may_cancel": "cancel" in allowed,
        "why_no_retry": why_no_retry_from(page.task),
        "retry_icon": html.icon("again"),
    }
