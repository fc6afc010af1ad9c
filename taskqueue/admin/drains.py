"""Draining and resuming workers from the admin: on the record of a user, by the engine's own deeds."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse

from taskqueue.admin.shared import formats
from taskqueue.admin.shared.pages import posted_to
from taskqueue.admin.shared.task_actions import actor_of
from taskqueue.engine.actions import audited
from taskqueue.errors import NotDrainable, WorkerNotFound
from taskqueue.models import Worker

NEEDS = "taskqueue.change_worker"
LIST = partial(reverse, "admin:taskqueue_worker_changelist")
MOST_AT_ONCE = 200


class Drains:
    """The addresses of both deeds, and the same for several workers at once, for `WorkerAdmin`."""

    admin_site: Any
    message_user: Any

    def get_urls(self) -> list[URLPattern]:
        """Both before the stock ones, which would take them for ids."""
        views = {"drain": self.drain_view, "resume": self.resume_view}
        ours = posted_to(self, "worker", views, place="<int:worker_id>")
        return [*ours, *super().get_urls()]  # type: ignore[misc]  # ModelAdmin comes after this class

    def drain_view(self, request: HttpRequest, worker_id: int) -> HttpResponse:
        """Let it end its task and take no other one."""
        return self.do(request, worker_id, audited.drain, "ends its task and takes no other one until it is resumed.")

    def resume_view(self, request: HttpRequest, worker_id: int) -> HttpResponse:
        """Let it take tasks again."""
        return self.do(request, worker_id, audited.undrain, "takes tasks again.")

    def do(self, request: HttpRequest, worker_id: int, deed: Any, sentence: str) -> HttpResponse:
        """Do one of them, and show the list or the worker."""
        if not request.user.has_perm(NEEDS):
            raise PermissionDenied
        try:
            worker = deed(worker_id, actor=actor_of(request))
        except WorkerNotFound as error:
            self.message_user(request, error.detail, messages.WARNING)
            return HttpResponseRedirect(LIST())
        except NotDrainable as error:
            self.message_user(request, error.detail, messages.ERROR)
        else:
            self.message_user(request, f"Worker {worker} {sentence}", messages.SUCCESS)
        on_page = request.GET.get("back") == "page"
        return HttpResponseRedirect(reverse("admin:taskqueue_worker_change", args=[worker_id]) if on_page else LIST())

    def has_drain_permission(self, request: HttpRequest) -> bool:
        """Whether the user may drain workers."""
        return request.user.has_perm(NEEDS)

    @admin.action(description="Drain selected workers", permissions=["drain"])
    def drain_selected(self, request: HttpRequest, queryset: QuerySet[Worker]) -> None:
        """Drain each of them."""
        self.do_all(request, queryset, audited.drain, "drained")

    @admin.action(description="Resume selected workers", permissions=["drain"])
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[Worker]) -> None:
        """Resume each of them."""
        self.do_all(request, queryset, audited.undrain, "resumed")

    def do_all(self, request: HttpRequest, queryset: QuerySet[Worker], deed: Any, done: str) -> None:
        """Do it to each, and give an exact account."""
        refused = []
        chosen = list(queryset.order_by("pk").values_list("pk", flat=True)[:MOST_AT_ONCE])
        for worker_id in chosen:
            try:
                deed(worker_id, actor=actor_of(request))
            except (NotDrainable, WorkerNotFound) as error:
                refused.append(error.detail)
        number = len(chosen) - len(refused)
        said = " ".join([f"{formats.count_of(number, 'worker')} {done}.", *refused[:5]])
        self.message_user(request, said, messages.WARNING if refused else messages.SUCCESS)
