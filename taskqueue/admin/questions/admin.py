"""Waiting for you: the open questions that a user may answer, and the form that answers one."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from taskqueue.admin.shared import html
from taskqueue.admin.shared.links import list_url, task_link
from taskqueue.admin.shared.models import ReadOnlyAdmin
from taskqueue.admin.shared.pages import admin_page, name_from_url, redirect
from taskqueue.admin.shared.task_actions import actor_of
from taskqueue.engine.access.answering import open_questions, require_answer
from taskqueue.engine.access.permissions import MODEL_PERMISSIONS, VIEW, Action, CallerPermissions
from taskqueue.engine.actions import answers
from taskqueue.errors import NotPermitted, QuestionNotFound
from taskqueue.forms.answer_form import CLOSED, answer_form, send_answer
from taskqueue.models import Question


@admin.register(Question)
class QuestionAdmin(ReadOnlyAdmin[Question]):
    """Open questions, the oldest first. All staff may open the list, which has only what the user may answer."""

    list_display = ("text", "pipeline", "task_column", "assignee_names", "asked", "times_out")
    actions = None
    ordering = ("id",)
    asked = html.moment_column("Asked", "created_at")
    times_out = html.moment_column("Until", "until")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_active and request.user.is_staff)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(MODEL_PERMISSIONS[Action.RETRY])

    def get_queryset(self, request: HttpRequest) -> QuerySet[Question]:
        found = open_questions(CallerPermissions(request.user))
        return found.select_related("task").annotate(seen_at=Now()).order_by("id")

    def get_list_display(self, request: HttpRequest) -> Any:
        columns = super().get_list_display(request)
        return columns if request.user.has_perm(VIEW) else [each for each in columns if each != "task_column"]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Waiting for you", **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of a question: its form, or how it ended."""
        try:
            question = answers.question_by_id(int(name_from_url(object_id)))
            require_answer(question, question.task.pipeline_id, CallerPermissions(request.user))
        except (ValueError, OverflowError, QuestionNotFound):
            message = "There is no such question. Its task may have been retried or pruned."
            return redirect(self, request, list_url("question"), message, messages.WARNING)
        except NotPermitted as error:
            raise PermissionDenied(error.detail) from error
        return question_page(self, request, question)

    @admin.display(description="Question")
    def text(self, question: Question) -> str:
        return str(question)

    @admin.display(description="Pipeline")
    def pipeline(self, question: Question) -> str:
        return question.task.pipeline_id

    @admin.display(description="Task")
    def task_column(self, question: Question) -> SafeString:
        return task_link(question.task_id)

    @admin.display(description="Assignees")
    def assignee_names(self, question: Question) -> str:
        return ", ".join(question.assignees or ())


def question_page(own: QuestionAdmin, request: HttpRequest, question: Question) -> HttpResponse:
    form, closed = answer_form(question, request.POST if request.method == "POST" else None), ""
    try:
        answers.refuse_closed(question)
        actor = actor_of(request)
        if form.is_bound and send_answer(question, form, by=actor.name, actor=actor):
            return redirect(own, request, list_url("question"), "Your answer counts: the task continues.")
    except CLOSED as error:
        closed = error.detail
    context = {
        "question": question,
        "form": form,
        "closed": closed,
        "task_link": task_link(question.task_id) if request.user.has_perm(VIEW) else "",
        "list_address": list_url("question"),
    }
    return admin_page(own, request, "question/change_form.html", str(question), context)
