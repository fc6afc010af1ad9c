"""Bulk operations: the confirmation before one starts, its progress, and the list of all of them."""

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
from taskqueue.admin.shared.pages import admin_page, post_urls
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


@admin.register(BulkOperation)
class BulkOperationAdmin(ReadOnlyAdmin[BulkOperation]):
    """Bulk operations, newest first."""

    list_display = ("status_badge", "summary", "filter_link", "started_by", "progress", "started")
    list_display_links = ("summary",)
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[BulkOperation]:
        """Operations, with whether the user may see payload values in their filters.

        A filter may concern any pipeline, so only users who may see the payloads of every pipeline see these values.
        """
        rights = CallerPermissions(request.user)
        sees = rights.has_permission(Action.VIEW_PAYLOAD) and not rights.pipelines_denied(Action.VIEW_PAYLOAD)
        return BulkOperation.objects.annotate(seen_at=Now(), shows_payloads=Value(sees))

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
        """Such as "Retry 3 tasks"."""
        return f"{BulkOperationVerb(operation.verb).words.capitalize()} {confirm.about(operation.estimate)}"

    @admin.display(description="Filter")
    def filter_link(self, operation: Any) -> SafeString | str:
        """The filter, with a link to the list unless payload values are redacted."""
        redacted = redacted_filter_text(operation.query)
        if not operation.shows_payloads and redacted != filter_text(operation.query):
            return redacted
        address = f"{reverse('admin:taskqueue_task_changelist')}?{operation.query}"
        return format_html('<a href="{}">{}</a>', address, filter_text(operation.query))

    @admin.display(description="Progress")
    def progress(self, operation: BulkOperation) -> SafeString:
        return format_html("{} {}", confirm.progress_bar(operation), confirm.counts_text(operation))

    @admin.display(description="Started")
    def started(self, operation: Any) -> SafeString:
        return html.moment(operation.created_at, operation.seen_at)

    def get_urls(self) -> list[URLPattern]:
        # Before Django's own patterns, which would match these addresses as object ids.
        view = self.admin_site.admin_view
        return [
            path(
                "new/<str:verb>/",
                view(require_http_methods(["GET", "HEAD", "POST"])(self.new_view)),
                name="taskqueue_bulkoperation_new",
            ),
            *post_urls(self, "bulkoperation", {"abort": self.abort_view}, prefix="<uuid:operation_id>"),
            *super().get_urls(),
        ]

    @limit_read_time
    def new_view(self, request: HttpRequest, verb: str) -> HttpResponse:
        """The confirmation on GET; a valid POST starts the operation and goes to its page."""
        if verb not in set(BulkOperationVerb):
            raise Http404
        operation_verb = BulkOperationVerb(verb)
        if not may(request, operation_verb):
            raise PermissionDenied
        try:
            task_filter = eligible_tasks(request, operation_verb)
        except CannotStart as error:
            self.message_user(request, f"The operation was not started. {error}", messages.ERROR)
            return HttpResponseRedirect(task_list_url(request))
        estimate = task_filters.count_of(task_filter, task_filters.oldest_scanned(task_filter))
        form = confirm.ConfirmForm(operation_verb, estimate, request.POST if request.method == "POST" else None)
        if form.is_valid:
            return self.start(request, operation_verb, task_filter, form.reason)
        context = {
            "form": form,
            "list_address": task_list_url(request),
            "query": filter_text(request.GET.urlencode()),
        }
        return admin_page(self, request, "bulkoperation/new.html", form.label, context)

    def start(
        self, request: HttpRequest, verb: BulkOperationVerb, task_filter: TaskFilter, reason: str
    ) -> HttpResponse:
        """Start the operation, with one log entry."""
        query = request.GET.urlencode()
        filter_words = redacted_filter_text(query)
        operation = bulk_operations.plan(
            task_filter,
            verb=verb,
            query=query,
            message=lambda estimate: f"{verb.words.capitalize()} {confirm.about(estimate)}: {filter_words}.",
            reason=reason,
            actor=actor_of(request),
        )
        return HttpResponseRedirect(reverse("admin:taskqueue_bulkoperation_change", args=[operation.pk]))

    def abort_view(self, request: HttpRequest, operation_id: Any) -> HttpResponse:
        """Stop the operation after its present batch."""
        operation = BulkOperation.objects.filter(pk=operation_id).first()
        if operation is None:
            raise Http404
        if not may(request, BulkOperationVerb(operation.verb)):
            raise PermissionDenied
        try:
            operation = bulk_operations.abort(operation.pk, actor=actor_of(request))
        except BulkOperationEnded as error:
            self.message_user(request, error.detail, messages.WARNING)
        else:
            processed = formats.count_of(operation.processed, "task")
            self.message_user(request, f"The operation is aborted, after {processed}.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:taskqueue_bulkoperation_change", args=[operation_id]))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The progress of an operation."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        operation: Any = self.get_object(request, object_id)
        if operation is None:
            self.message_user(request, f"There is no operation {object_id}.", messages.WARNING)
            return HttpResponseRedirect(reverse("admin:taskqueue_bulkoperation_changelist"))
        context = {
            "operation": operation,
            "badge": html.badge(operation.status),
            "progress_bar": confirm.progress_bar(operation),
            "counts": confirm.counts_text(operation),
            "filter": self.filter_link(operation),
            "started": html.moment(operation.created_at, operation.seen_at),
            "ended": html.moment(operation.finished_at, operation.seen_at),
            "refusals": sorted(operation.refusals.items(), key=lambda pair: -pair[1]),
            "may_abort": not operation.has_ended and may(request, BulkOperationVerb(operation.verb)),
        }
        return admin_page(self, request, "bulkoperation/progress.html", self.summary(operation), context)


def may(request: HttpRequest, verb: BulkOperationVerb) -> bool:
    """Whether the user may view tasks and has the permission of this verb."""
    return request.user.has_perms([VIEW, MODEL_PERMISSIONS[bulk_operations.REQUIRED_ACTION[verb]]])


def eligible_tasks(request: HttpRequest, verb: BulkOperationVerb) -> TaskFilter:
    """The tasks that the URL's filter matches and that the verb can be applied to.

    Raises:
        CannotStart
    """
    try:
        list_params = list_params_of(request.GET.dict(), CallerPermissions(request.user))
        if list_params.error:
            raise CannotStart(list_params.error)
        return bulk_operations.eligible(verb, list_params.task_filter)
    except IncorrectLookupParameters as error:
        raise CannotStart("A filter has an invalid value.") from error
    except UnfilteredOperation as error:
        raise CannotStart(error.detail) from error


def task_list_url(request: HttpRequest) -> str:
    """The list of tasks with the filter of this URL."""
    query = request.GET.urlencode()
    return f"{reverse('admin:taskqueue_task_changelist')}{'?' if query else ''}{query}"


def filter_text(query: str) -> str:
    """A query string in words, such as "status failed, pipeline demo/task"."""
    return pairs_text(parse_qsl(query))


def redacted_filter_text(query: str) -> str:
    """A query string in words, without the payload values that it searches for."""
    return pairs_text((name, syntax.redacted(value) if name == "q" else value) for name, value in parse_qsl(query))


def pairs_text(filters: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{'search' if name == 'q' else name} {value}" for name, value in filters) or "all tasks"
