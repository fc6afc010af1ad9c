"""Operations in the admin: the look before one is started, its progress and its end, and all that there were."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet, Value
from django.db.models.functions import Now
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods

from taskqueue.admin.bulk_operations import confirm
from taskqueue.admin.search import syntax
from taskqueue.admin.search.parameters import list_params_of
from taskqueue.admin.shared import formats, html
from taskqueue.admin.shared.models import ReadOnlyAdmin
from taskqueue.admin.shared.pages import framed, posted_to
from taskqueue.admin.shared.task_actions import actor_of
from taskqueue.admin.shared.timeouts import bounded
from taskqueue.engine.access.permissions import NEEDS, VIEW, Action, Rights
from taskqueue.engine.actions import audited
from taskqueue.engine.maintenance import bulk_operations
from taskqueue.engine.queries import filters as task_filters
from taskqueue.engine.queries.filters import TaskFilter
from taskqueue.errors import BulkOperationEnded, UnfilteredOperation
from taskqueue.models import BulkOperation
from taskqueue.states import BulkOperationVerb


class Unmeant(Exception):
    """An operation that cannot be started; its message says why."""


@admin.register(BulkOperation)
class BulkOperationAdmin(ReadOnlyAdmin[BulkOperation]):
    """Operations, newest first."""

    list_display = ("shown_status", "shown_verb", "shown_filter", "started_by", "shown_progress", "shown_creation")
    list_display_links = ("shown_verb",)
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[BulkOperation]:
        """All, with the database's present moment, and whether what they look for in payloads is for the user.

        That may be of any pipeline, so it is for those to whom none is closed.
        """
        rights = Rights(request.user)
        sees = rights.has(Action.VIEW_PAYLOAD) and not rights.pipelines_denied(Action.VIEW_PAYLOAD)
        return BulkOperation.objects.annotate(seen_at=Now(), shows_payloads=Value(sees))

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Those who may look at operations, and those who may start one."""
        return super().has_view_permission(request, obj) or any(may(request, verb) for verb in BulkOperationVerb)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """The same."""
        return self.has_view_permission(request)

    @admin.display(description="Status")
    def shown_status(self, operation: BulkOperation) -> SafeString:
        """The badge."""
        return html.badge(operation.status)

    @admin.display(description="What")
    def shown_verb(self, operation: BulkOperation) -> str:
        """The verb, and for how many."""
        return f"{BulkOperationVerb(operation.verb).words.capitalize()} {confirm.about(operation.estimate)}"

    @admin.display(description="Filter")
    def shown_filter(self, operation: Any) -> SafeString | str:
        """The way to the list from which it was started."""
        covered = covered_words_of(operation.query)
        if not operation.shows_payloads and covered != words_of(operation.query):
            return covered
        address = f"{reverse('admin:taskqueue_task_changelist')}?{operation.query}"
        return format_html('<a href="{}">{}</a>', address, words_of(operation.query))

    @admin.display(description="Progress")
    def shown_progress(self, operation: BulkOperation) -> SafeString:
        """How far it is and what came of it."""
        return format_html("{} {}", confirm.meter(operation), confirm.account(operation))

    @admin.display(description="Started")
    def shown_creation(self, operation: Any) -> SafeString:
        """When."""
        return html.moment(operation.created_at, operation.seen_at)

    def get_urls(self) -> list[URLPattern]:
        """Before the stock ones, which would take them for ids."""
        view = self.admin_site.admin_view
        return [
            path(
                "new/<str:verb>/",
                view(require_http_methods(["GET", "HEAD", "POST"])(self.new_view)),
                name="taskqueue_bulkoperation_new",
            ),
            *posted_to(self, "bulkoperation", {"abort": self.abort_view}, place="<uuid:operation_id>"),
            *super().get_urls(),
        ]

    @bounded
    def new_view(self, request: HttpRequest, verb: str) -> HttpResponse:
        """Look at what an operation would do, and start it."""
        if verb not in set(BulkOperationVerb):
            raise Http404
        wanted = BulkOperationVerb(verb)
        if not may(request, wanted):
            raise PermissionDenied
        try:
            selection = meant(request, wanted)
        except Unmeant as refused:
            self.message_user(request, f"Nothing was started. {refused}", messages.ERROR)
            return HttpResponseRedirect(list_address(request))
        estimate = task_filters.count_of(selection, task_filters.floor_of(selection))
        form = confirm.Form(wanted, estimate, request.POST if request.method == "POST" else None)
        if form.is_valid:
            return self.start(request, wanted, selection, form.reason)
        context = {"form": form, "listed_at": list_address(request), "query": words_of(request.GET.urlencode())}
        return self.answer(request, "new.html", f"{wanted.words.capitalize()} {confirm.about(form.estimate)}", context)

    def start(self, request: HttpRequest, verb: BulkOperationVerb, selection: TaskFilter, reason: str) -> HttpResponse:
        """Start it, with one entry in the audit log."""
        query = request.GET.urlencode()
        operation = audited.operate(
            selection,
            verb=verb,
            query=query,
            said=lambda estimate: f"{verb.words.capitalize()} {confirm.about(estimate)}: {covered_words_of(query)}.",
            reason=reason,
            actor=actor_of(request),
        )
        return HttpResponseRedirect(reverse("admin:taskqueue_bulkoperation_change", args=[operation.pk]))

    def abort_view(self, request: HttpRequest, operation_id: Any) -> HttpResponse:
        """Let no further batch be done."""
        operation = BulkOperation.objects.filter(pk=operation_id).first()
        if operation is None:
            raise Http404
        if not may(request, BulkOperationVerb(operation.verb)):
            raise PermissionDenied
        try:
            operation = audited.abort(operation.pk, actor=actor_of(request))
        except BulkOperationEnded as error:
            self.message_user(request, error.detail, messages.WARNING)
        else:
            done = formats.count_of(operation.processed, "task")
            self.message_user(request, f"The operation is aborted. Aborted after {done}.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:taskqueue_bulkoperation_change", args=[operation_id]))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The progress of one."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        operation: Any = self.get_object(request, object_id)
        if operation is None:
            self.message_user(request, f"There is no operation {object_id}.", messages.WARNING)
            return HttpResponseRedirect(reverse("admin:taskqueue_bulkoperation_changelist"))
        context = {
            "operation": operation,
            "badge": html.badge(operation.status),
            "meter": confirm.meter(operation),
            "account": confirm.account(operation),
            "filter": self.shown_filter(operation),
            "started": html.moment(operation.created_at, operation.seen_at),
            "ended": html.moment(operation.finished_at, operation.seen_at),
            "refusals": sorted(operation.refusals.items(), key=lambda pair: -pair[1]),
            "may_abort": not operation.has_ended and may(request, BulkOperationVerb(operation.verb)),
        }
        return self.answer(request, "progress.html", self.shown_verb(operation), context)

    def answer(self, request: HttpRequest, template: str, title: str, context: dict[str, Any]) -> HttpResponse:
        """A page of this admin."""
        return framed(self, request, f"bulkoperation/{template}", title, context)


def may(request: HttpRequest, verb: BulkOperationVerb) -> bool:
    """Whether the user may do this to tasks; nothing to those that they may not see."""
    return request.user.has_perms([VIEW, NEEDS[bulk_operations.NEEDS[verb]]])


def meant(request: HttpRequest, verb: BulkOperationVerb) -> TaskFilter:
    """The tasks that the address means and on which the verb can be done.

    Raises:
        Unmeant
    """
    try:
        asked = list_params_of(request.GET.dict(), Rights(request.user))
        if asked.fault:
            raise Unmeant(asked.fault)
        return bulk_operations.eligible(verb, asked.selection)
    except IncorrectLookupParameters as error:
        raise Unmeant("A filter has a value that it cannot have.") from error
    except UnfilteredOperation as error:
        raise Unmeant(error.detail) from error


def list_address(request: HttpRequest) -> str:
    """The list with the same filter."""
    query = request.GET.urlencode()
    return f"{reverse('admin:taskqueue_task_changelist')}{'?' if query else ''}{query}"


def words_of(query: str) -> str:
    """A filter for people: `status failed, pipeline demo/task`."""
    return worded(parse_qsl(query))


def covered_words_of(query: str) -> str:
    """The same without what is looked for in payloads."""
    return worded((name, syntax.covered(value) if name == "q" else value) for name, value in parse_qsl(query))


def worded(filters: Iterable[tuple[str, str]]) -> str:
    """Filters in words."""
    return ", ".join(f"{'search' if name == 'q' else name} {value}" for name, value in filters) or "all tasks"
