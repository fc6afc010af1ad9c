"""Retry and rerun of one task: what runs more than one step again asks first, on a page of its own."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods

from taskqueue.admin.shared.pages import framed
from taskqueue.admin.task import repeats
from taskqueue.admin.task.repeats import Repetition
from taskqueue.engine.access.permissions import Action
from taskqueue.engine.actions import audited
from taskqueue.engine.queries import tasks
from taskqueue.engine.tasks import control
from taskqueue.errors import TaskNotFound, UnknownStep
from taskqueue.models import Task
from taskqueue.states import ENDED

CONFIRMED = "confirmed"
"""What a form sends that named the steps; without it nothing is done that runs more than one of them again."""


class Confirmations:
    """The addresses of both, for `TaskAdmin`: GET asks, POST does it."""

    def get_urls(self: Any) -> list[URLPattern]:
        """Before the stock ones, which would take them for ids."""
        views = {"retry": self.retry_view, "rerun": self.rerun_view}
        ours = [
            path(
                f"<path:object_id>/{noun}/",
                self.admin_site.admin_view(require_http_methods(["GET", "HEAD", "POST"])(view)),
                name=f"taskqueue_task_{noun}",
            )
            for noun, view in views.items()
        ]
        urls: list[URLPattern] = ours + super().get_urls()  # type: ignore[misc]  # a ModelAdmin's
        return urls

    def retry_view(self: Any, request: HttpRequest, object_id: str) -> HttpResponse:
        """Retry a task, from the step that is named if there is one."""
        if not self.rights(request).retry:
            raise PermissionDenied
        sent = request.POST if request.method == "POST" else request.GET
        from_step = sent.get("from_step", "").replace("\0", "") or None
        asking = self.asked(request, object_id, "retry", from_step)
        if asking is not None:
            answer: HttpResponse = asking
            return answer
        sentence = f"The task is queued again, from step {from_step}." if from_step else "The task is queued again."
        verb = partial(audited.retry, from_step=from_step)
        done: HttpResponse = self.answer(request, object_id, verb, Action.RETRY, "retry", sentence)
        return done

    def rerun_view(self: Any, request: HttpRequest, object_id: str) -> HttpResponse:
        """Make a new task from the same payload, and go to its page."""
        if not self.rights(request).rerun:
            raise PermissionDenied
        asking = self.asked(request, object_id, "rerun", None)
        if asking is not None:
            answer: HttpResponse = asking
            return answer
        sentence = "This is a new task from the same payload."
        done: HttpResponse = self.answer(request, object_id, audited.rerun, Action.RUN, "rerun", sentence)
        return done

    def asked(self: Any, request: HttpRequest, object_id: str, noun: str, from_step: str | None) -> HttpResponse | None:
        """The page that asks, or the way to it; None when it is to be done, or to be refused by the engine."""
        is_posted = request.method == "POST"
        if is_posted and CONFIRMED in request.POST:
            return None
        try:
            task = tasks.find(UUID(object_id))
            repetition = repeats.of_rerun(task) if noun == "rerun" else repeats.of_retry(task, from_step)
        except (ValueError, TaskNotFound):
            missing: HttpResponse = self.not_found(request, object_id)
            return missing
        except UnknownStep as error:
            self.message_user(request, f"Cannot retry: {error.detail}", messages.ERROR)
            return HttpResponseRedirect(reverse("admin:taskqueue_task_change", args=[object_id]))
        if not getattr(self.rights(request, pipeline=task.pipeline_id), noun):
            raise PermissionDenied(f"You may not {noun} tasks of pipeline {task.pipeline_id!r}.")
        if not is_posted:
            return self.ask(request, task, noun, from_step, repetition)  # type: ignore[no-any-return]
        return HttpResponseRedirect(address_of(task, noun, from_step)) if asks(noun, repetition) else None

    def ask(
        self: Any, request: HttpRequest, task: Task, noun: str, from_step: str | None, repetition: Repetition
    ) -> HttpResponse:
        """The page."""
        context = {
            "task": task,
            "noun": noun,
            "address": reverse(f"admin:taskqueue_task_{noun}", args=[task.pk]),
            "from_step": from_step or "",
            "repetition": repetition,
            "refusal": refusal(task, noun, from_step),
        }
        title = f"{noun.capitalize()} {task.pipeline_id} {task.key}".strip()
        return framed(self, request, "task/confirm.html", title, context)


def asks(noun: str, repetition: Repetition) -> bool:
    """Whether it must be asked for: a rerun always, since nothing of the first task is kept."""
    return noun == "rerun" or repetition.calls > 1


def refusal(task: Task, noun: str, from_step: str | None) -> str:
    """Why it cannot be done now; the engine asks again when it is done."""
    allowed = ENDED if from_step is not None else control.RETRYABLE
    return control.refusal(task) if noun == "retry" and task.status not in allowed else ""


def address_of(task: Task, noun: str, from_step: str | None) -> str:
    """Where it asks."""
    query = f"?{urlencode({'from_step': from_step})}" if from_step else ""
    return reverse(f"admin:taskqueue_task_{noun}", args=[task.pk]) + query
