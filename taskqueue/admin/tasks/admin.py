"""Tasks in the admin: the list, the page of one, and the buttons that retry, cancel and rerun."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, reverse

from taskqueue.admin.search import syntax
from taskqueue.admin.shared import filters as shared_filters
from taskqueue.admin.shared import html, task_actions
from taskqueue.admin.shared.details import audit_entries_of
from taskqueue.admin.shared.models import ReadOnlyAdmin
from taskqueue.admin.shared.pages import framed, posted_to
from taskqueue.admin.task.bulk_history import operations_on
from taskqueue.admin.task.buttons import Rights, buttons_of, neighbours_of, why_no_retry_from
from taskqueue.admin.task.confirm import Confirmations
from taskqueue.admin.task.details import bulk_entries_of, facts_of
from taskqueue.admin.task.links import TaskLinks
from taskqueue.admin.task.page import TaskPage, page_of
from taskqueue.admin.task.views import TaskDoors
from taskqueue.admin.tasks import columns, filters
from taskqueue.admin.tasks.bulk import BulkActions
from taskqueue.admin.tasks.changelist import TaskChangeList
from taskqueue.admin.tasks.export import Exports
from taskqueue.engine.access import permissions
from taskqueue.engine.access.permissions import Action
from taskqueue.engine.actions import audited
from taskqueue.engine.queries import tasks
from taskqueue.errors import NotPermitted, TaskNotFound, TaskqueueError
from taskqueue.models import Task


@admin.register(Task)
class TaskAdmin(columns.TaskColumns, Confirmations, TaskDoors, BulkActions, Exports, ReadOnlyAdmin[Task]):
    """Tasks, newest first."""

    list_display = (
        "shown_status", "shown_task", "shown_steps", "shown_attempt", "shown_wait", "shown_length", "shown_creation",
        "shown_worker",
    )  # fmt: skip
    list_display_links = ("shown_task",)
    list_filter = (
        filters.StatusFilter, filters.FailureFilter, filters.RepairedFilter, shared_filters.PipelineFilter,
        filters.CreatedFilter, filters.EndedFilter, filters.ErrorFilter, filters.LabelFilter, filters.RetriedFilter,
    )  # fmt: skip
    ordering = ("-id",)
    search_fields = ("id", "key")
    search_help_text = syntax.HELP
    actions = ("retry_selected", "run_now_selected", "cancel_selected", "rerun_selected")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        """What the list shows."""
        return columns.listed()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """The list by ids."""
        return TaskChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Task], search_term: str
    ) -> tuple[QuerySet[Task], bool]:
        """The list's selection has understood the term already."""
        return queryset, False

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Whether the user may retry tasks."""
        return self.rights(request).retry

    def has_run_now_permission(self, request: HttpRequest) -> bool:
        """The same, for tasks that wait for a time."""
        return self.rights(request).run_now

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Whether the user may cancel tasks."""
        return self.rights(request).cancel

    def has_rerun_permission(self, request: HttpRequest) -> bool:
        """Whether the user may make new tasks."""
        return self.rights(request).rerun

    def rights(self, request: HttpRequest, *, pipeline: str | None = None) -> Rights:
        """What the user may do to tasks, of this pipeline or in general; nothing to those that they may not see."""
        if not self.has_view_permission(request):
            return Rights()
        known = permissions.Rights(request.user)
        retry, cancel, rerun = (
            known.may(deed, pipeline) if pipeline is not None else request.user.has_perm(permissions.NEEDS[deed])
            for deed in (Action.RETRY, Action.CANCEL, Action.RUN)
        )
        return Rights(retry=retry, run_now=retry, cancel=cancel, rerun=rerun)

    def get_urls(self) -> list[URLPattern]:
        """The buttons' addresses, before the stock ones, which would take them for ids."""
        nouns = {"run_now": self.run_now_view, "cancel": self.cancel_view}
        return posted_to(self, "task", nouns) + super().get_urls()

    def run_now_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let a delayed task go on at once."""
        if not self.rights(request).run_now:
            raise PermissionDenied
        sentence = "The task is due now."
        return self.answer(request, object_id, audited.run_task_now, Action.RETRY, "run it now", sentence)

    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Cancel a task, for a reason if the form has one."""
        if not self.rights(request).cancel:
            raise PermissionDenied
        verb = partial(audited.cancel, reason=request.POST.get("reason", "").strip()[:300])
        return self.answer(request, object_id, verb, Action.CANCEL, "cancel", "The task is cancelled.")

    def answer(
        self, request: HttpRequest, object_id: str, verb: Any, deed: Action, infinitive: str, sentence: str
    ) -> HttpResponse:
        """Do something to one task and show it, or say why it could not be done."""
        allowed = task_actions.permitted(
            partial(verb, actor=task_actions.actor_of(request)), deed, permissions.Rights(request.user)
        )
        try:
            task = allowed(UUID(object_id))
        except (ValueError, TaskNotFound):
            return self.not_found(request, object_id)
        except NotPermitted as error:
            raise PermissionDenied(error.detail) from error
        except TaskqueueError as error:
            why = task_actions.reason(UUID(object_id), error)
            self.message_user(request, f"Cannot {infinitive}: {why}", messages.ERROR)
            return HttpResponseRedirect(address_of(object_id))
        self.message_user(request, sentence, messages.SUCCESS)
        return HttpResponseRedirect(address_of(task.pk))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A task's page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        try:
            show_all = request.GET.get("steps") == "all"
            page = page_of(UUID(object_id), permissions.Rights(request.user), show_all=show_all)
        except ValueError:
            return self.not_found(request, object_id)
        except TaskNotFound:
            asker = tasks.asker_of(UUID(object_id))
            return self.not_found(request, object_id) if asker is None else HttpResponseRedirect(address_of(asker))
        title = f"{page.task.pipeline_id} {page.task.key}".strip()
        context = {
            **shown(page, self.rights(request, pipeline=page.task.pipeline_id), TaskLinks(self.admin_site, request)),
            "history": [
                *audit_entries_of(page.history, page.now),
                *bulk_entries_of(operations_on(page.task, page.history), page.now, request),
            ],
            "show_all": show_all,
            **(extra_context or {}),
        }
        return framed(self, request, "task/change_form.html", title, context)

    def not_found(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Say that there is no such task, on the list."""
        self.message_user(request, f"There is no task {object_id}. Ended tasks may have been pruned.", messages.WARNING)
        return HttpResponseRedirect(reverse("admin:taskqueue_task_changelist"))


def shown(page: TaskPage, may: Rights, leads: TaskLinks) -> dict[str, Any]:
    """What the template of a task's page needs."""
    return {
        "page": page,
        "status_badge": html.badge(page.task.status),
        "facts": facts_of(page, leads),
        "pipeline": leads.pipeline(page.task),
        "buttons": buttons_of(page, may),
        "neighbours": neighbours_of(page),
        "may_retry": may.retry,
        "may_cancel": may.cancel,
        "why_no_retry": why_no_retry_from(page.task),
        "again": html.icon("again"),
    }


def address_of(task_id: object) -> str:
    """The address of a task's page."""
    return reverse("admin:taskqueue_task_change", args=[task_id])
