"""Bulk operations: the confirmation before one starts, its progress, and the list of all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet, Value
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin.bulk_operations import confirm
from taskqueue.admin.search import syntax
from taskqueue.admin.search.parameters import PARAMETERS, list_params_of
from taskqueue.admin.shared import formats, html
from taskqueue.admin.shared.links import link, list_url, page_url
from taskqueue.admin.shared.models import ReadOnlyAdmin
from taskqueue.admin.shared.pages import FORM, POST, admin_page, redirect
from taskqueue.admin.shared.task_actions import actor_of
from taskqueue.admin.shared.timeouts import limit_read_time
from taskqueue.engine.access.permissions import MODEL_PERMISSIONS, VIEW, Action, CallerPermissions
from taskqueue.engine.maintenance import bulk_operations
from taskqueue.engine.queries import filters as task_filters
from taskqueue.engine.queries.filters import TaskFilter
from taskqueue.errors import BulkOperationEnded, UnfilteredOperation
from taskqueue.models import BulkOperation
from taskqueue.states import BulkOperationVerb


class CannotStart(Exception):
    """The operation cannot start; the message says why."""


@limit_read_time
def new_view(admin: Any, request: HttpRequest, verb: str) -> HttpResponse:
    """The confirmation on GET; a valid POST starts the operation and goes to its page."""
    if verb not in set(BulkOperationVerb):
        raise Http404
    operation_verb = BulkOperationVerb(verb)
    if not may(request, operation_verb):
        raise PermissionDenied
    query = request.GET.urlencode()
    list_address = f"{list_url('task')}{'?' if query else ''}{query}"
    try:
        task_filter = eligible_tasks(request, operation_verb)
    except CannotStart as error:
        return redirect(admin, request, list_address, f"The operation was not started. {error}", messages.ERROR)
    estimate = task_filters.count_of(task_filter, task_filters.oldest_scanned(task_filter))
    form = confirm.ConfirmForm(operation_verb, estimate, request.POST if request.method == "POST" else None)
    if form.is_valid:
        return start(request, operation_verb, task_filter, form.reason)
    context = {
        "form": form,
        "about": bulk_operations.about(estimate),
        "participle": confirm.DONE[operation_verb],
        "consequence": bulk_operations.CONSEQUENCES[operation_verb],
        "list_address": list_address,
        "query": filter_text(query),
    }
    return admin_page(admin, request, "bulkoperation/new.html", form.label, context)


def start(request: HttpRequest, verb: BulkOperationVerb, task_filter: TaskFilter, reason: str) -> HttpResponse:
    query = request.GET.urlencode()
    filter_words = redacted_filter_text(query)
    operation = bulk_operations.plan(
        task_filter,
        verb=verb,
        query=query,
        message=lambda estimate: f"{verb.words.capitalize()} {bulk_operations.about(estimate)}: {filter_words}.",
        reason=reason,
        actor=actor_of(request),
    )
    return HttpResponseRedirect(page_url("bulkoperation", operation.pk))


def abort_view(admin: Any, request: HttpRequest, operation_id: Any) -> HttpResponse:
    """Stop the operation after its present batch."""
    operation = get_object_or_404(BulkOperation, pk=operation_id)
    if not may(request, BulkOperationVerb(operation.verb)):
        raise PermissionDenied
    address = page_url("bulkoperation", operation_id)
    try:
        operation = bulk_operations.abort(operation.pk, actor=actor_of(request))
    except BulkOperationEnded as error:
        return redirect(admin, request, address, error.detail, messages.WARNING)
    processed = formats.count_of(operation.processed, "task")
    return redirect(admin, request, address, f"The operation is aborted, after {processed}.")


@admin.register(BulkOperation)
class BulkOperationAdmin(ReadOnlyAdmin[BulkOperation]):
    list_display = ("status_badge", "summary", "filter_link", "started_by", "progress", "started")
    list_display_links = ("summary",)
    ordering = ("-id",)
    views = (
        ("new/<str:verb>/", "new", new_view, FORM),
        ("<uuid:operation_id>/abort/", "abort", abort_view, POST),
    )
    started = html.moment_column("Started", "created_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[BulkOperation]:
        # A filter may concern any pipeline: its payload values are for users who may see those of every pipeline.
        rights = CallerPermissions(request.user)
        sees = rights.has_permission(Action.VIEW_PAYLOAD) and not rights.pipelines_denied(Action.VIEW_PAYLOAD)
        return super().get_queryset(request).annotate(shows_payloads=Value(sees))

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Users who may view operations, and users who may start one."""
        return super().has_view_permission(request, obj) or any(may(request, verb) for verb in BulkOperationVerb)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    @admin.display(description="Status")
    def status_badge(self, operation: BulkOperation) -> SafeString:
        return html.badge(operation.status)

    @admin.display(description="Action")
    def summary(self, operation: BulkOperation) -> str:
        return f"{BulkOperationVerb(operation.verb).words.capitalize()} {bulk_operations.about(operation.estimate)}"

    @admin.display(description="Filter")
    def filter_link(self, operation: Any) -> SafeString | str:
        redacted = redacted_filter_text(operation.query)
        if not operation.shows_payloads and redacted != filter_text(operation.query):
            return redacted
        if not is_of_list(operation.query):
            return filter_text(operation.query)
        return link(f"{list_url('task')}?{operation.query}", filter_text(operation.query))

    @admin.display(description="Progress")
    def progress(self, operation: BulkOperation) -> SafeString:
        return format_html("{} {}", confirm.progress_bar(operation), confirm.counts_text(operation))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        operation: Any = self.get_object(request, object_id)
        if operation is None:
            message = f"There is no operation {object_id}."
            return redirect(self, request, list_url("bulkoperation"), message, messages.WARNING)
        context = {
            "operation": operation,
            "badge": html.badge(operation.status),
            "progress_bar": confirm.progress_bar(operation),
            "counts": confirm.counts_text(operation),
            "filter": self.filter_link(operation),
            "started": self.started(operation),
            "ended": html.moment(operation.finished_at, operation.seen_at),
            "refusals": sorted(operation.refusals.items(), key=lambda pair: -pair[1]),
            "may_abort": not operation.has_ended and may(request, BulkOperationVerb(operation.verb)),
        }
        return admin_page(self, request, "bulkoperation/progress.html", self.summary(operation), context)


def may(request: HttpRequest, verb: BulkOperationVerb) -> bool:
    """Whether the user may view tasks and has the permission of this verb."""
    return request.user.has_perms([VIEW, MODEL_PERMISSIONS[bulk_operations.REQUIRED_ACTION[verb]]])


def eligible_tasks(request: HttpRequest, verb: BulkOperationVerb) -> TaskFilter:
    """The tasks of the URL's filter to which the verb can be applied. Raises CannotStart."""
    try:
        list_params = list_params_of(request.GET.dict(), CallerPermissions(request.user))
        if list_params.error:
            raise CannotStart(list_params.error)
        return bulk_operations.eligible(verb, list_params.task_filter)
    except IncorrectLookupParameters as error:
        raise CannotStart("A filter has an invalid value.") from error
    except UnfilteredOperation as error:
        raise CannotStart(error.detail) from error


def is_of_list(query: str) -> bool:
    """Whether the task list can show this filter; one from the API can have others."""
    names = [name for name, _value in parse_qsl(query)]
    return set(names) <= set(PARAMETERS) and len(set(names)) == len(names)


def filter_text(query: str) -> str:
    """A query string in words, such as "status failed, pipeline demo/task"."""
    return pairs_text(parse_qsl(query))


def redacted_filter_text(query: str) -> str:
    """A query string in words, without the payload values that it searches for."""
    return pairs_text((name, syntax.redacted(value) if name == "q" else value) for name, value in parse_qsl(query))


def pairs_text(filters: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{'search' if name == 'q' else name} {value}" for name, value in filters) or "all tasks"
