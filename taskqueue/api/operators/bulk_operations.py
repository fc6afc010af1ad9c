"""Bulk operations: preview one, start one on all tasks that match filters, follow and abort it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import parse_qsl
from uuid import UUID

from django.db.models import F
from django.urls import reverse
from pydantic import Field
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api.authentication import actor_of, has_permissions, pipeline_permissions_of
from taskqueue.api.json_parser import parse_body
from taskqueue.api.openapi.operations import location, operation
from taskqueue.api.pagination import PageQuery, keyset_page
from taskqueue.api.requests import Body, NoBody
from taskqueue.api.rows import find_row, invalid_body
from taskqueue.api.serializers import Paged, Time, choices_of
from taskqueue.api.tasks.filters import TaskFilters
from taskqueue.api.tasks.serializers import TaskReference
from taskqueue.api.views import ApiView
from taskqueue.engine.access.permissions import MODEL_PERMISSIONS, VIEW, Action
from taskqueue.engine.maintenance import bulk_operations
from taskqueue.engine.queries import filters
from taskqueue.engine.queries.filters import COUNT_LIMIT, SCAN_LIMIT, TaskFilter
from taskqueue.errors import UnfilteredOperation
from taskqueue.models import BulkOperation, Task
from taskqueue.states import BulkOperationStatus, BulkOperationVerb

PREVIEWED: Final = 10
ESTIMATE: Final = f"How many tasks match; {COUNT_LIMIT + 1:,} stands for more than {COUNT_LIMIT:,}."


class BulkOperationRequest(Body):
    """What to do with all tasks that match the filters of the query."""

    action: BulkOperationVerb = Field(strict=False, description="What to do.")
    reason: str = Field(
        default="",
        max_length=300,
        description=f"Why; kept with the operation. Required for more than {bulk_operations.LARGE:,} tasks.",
    )


class PreviewQuery(TaskFilters):
    """An action, and the filters of its tasks."""

    action: BulkOperationVerb = Field(description="What would be done.")


class BulkOperationPreview(serializers.Serializer[Any]):
    """What a bulk operation would do."""

    estimate = serializers.IntegerField(help_text=ESTIMATE)
    effect = serializers.CharField(help_text="What it does to each task, for people.")
    needs_reason = serializers.BooleanField(help_text="Whether it needs a reason.")
    oldest = serializers.UUIDField(
        allow_null=True,
        help_text=f"The oldest task that it looks at, for filters without an index: they look at {SCAN_LIMIT:,} tasks. "
        "Null for all tasks.",
    )
    newest = TaskReference(many=True, help_text=f"The newest {PREVIEWED} tasks that match.")


class BulkOperationRecord(serializers.Serializer[Any]):
    """A bulk operation and its progress."""

    id = serializers.UUIDField()
    action = serializers.ChoiceField(choices=choices_of(BulkOperationVerb), source="verb")
    status = serializers.ChoiceField(choices=choices_of(BulkOperationStatus))
    filters = serializers.CharField(
        source="query",
        allow_blank=True,
        help_text="The filters, as the query of the list that it was started from; empty if it searches in payloads "
        "that the caller may not see.",
    )
    reason = serializers.CharField(allow_blank=True)
    started_by = serializers.CharField(allow_blank=True)
    estimate = serializers.IntegerField(help_text=f"{ESTIMATE} As of the start.")
    processed = serializers.IntegerField(help_text="How many tasks were tried: those changed, skipped and failed.")
    changed = serializers.IntegerField()
    skipped = serializers.IntegerField(help_text="Tasks whose status no longer allowed it.")
    failed = serializers.IntegerField(help_text="Tasks for which it was refused.")
    refusals = serializers.DictField(
        child=serializers.IntegerField(), help_text="Why tasks were skipped or failed, and how many of them."
    )
    created_at = Time()
    started_at = Time(allow_null=True)
    finished_at = Time(allow_null=True)
    aborted_by = serializers.CharField(allow_blank=True)


class BulkOperationPage(Paged):
    """Bulk operations, newest first."""

    operations = BulkOperationRecord(many=True, source="rows")


class BulkOperationListView(ApiView):
    required_permissions = {"GET": (), "POST": (VIEW,)}

    @operation(
        "listBulkOperations",
        "List bulk operations",
        "Newest first. For callers with `view_bulkoperation`, and those who may start one.",
        tag="operations",
        success={200: (BulkOperationPage, "A page of operations.")},
        query=PageQuery,
    )
    def get(self, request: Request) -> Response:
        require_view(request)
        page = keyset_page(BulkOperation.objects.order_by("-id"), PageQuery.of(request.query_params))
        redact(page.rows, request)
        return Response(BulkOperationPage(page).data)

    @operation(
        "createBulkOperation",
        "Start a bulk operation",
        "Retries, cancels, reruns or runs now all tasks that match the filters of the query, which are those of the "
        "list. Workers do it in batches, with the caller's permissions at that time. It needs the permission that the "
        "action needs for one task, and an account. Answers 422 without a filter, and if no task matches.",
        tag="operations",
        success={202: (BulkOperationRecord, "The operation, which has been started.")},
        query=TaskFilters,
        body=BulkOperationRequest,
        headers=(location("operation", 202),),
    )
    def post(self, request: Request) -> Response:
        body = parse_body(BulkOperationRequest, request.data)
        require(request, body.action)
        refuse_without_account(request)
        query = TaskFilters.of(request.query_params)
        made = start(request, body, query)
        address = reverse("taskqueue:bulk-operation", args=[made.pk])
        return Response(BulkOperationRecord(made).data, status=202, headers={"Location": address})


class BulkOperationPreviewView(ApiView):
    required_permissions = {"GET": (VIEW,)}

    @operation(
        "previewBulkOperation",
        "Preview a bulk operation",
        "How many tasks match, and what would be done to them. Nothing is changed.",
        tag="operations",
        success={200: (BulkOperationPreview, "What it would do.")},
        query=PreviewQuery,
    )
    def get(self, request: Request) -> Response:
        query = PreviewQuery.of(request.query_params)
        require(request, query.action)
        narrowed, floor, estimate = eligible(query.action, query.task_filter())
        newest = list(filters.ids_of(narrowed, oldest=floor, limit=PREVIEWED))
        rows = Task.objects.filter(pk__in=newest).order_by("-pk").values("id", "status", pipeline_name=F("pipeline_id"))
        preview = {
            "estimate": estimate,
            "effect": bulk_operations.CONSEQUENCES[query.action],
            "needs_reason": estimate > bulk_operations.LARGE,
            "oldest": floor,
            "newest": [{**row, "pipeline": row["pipeline_name"]} for row in rows],
        }
        return Response(BulkOperationPreview(preview).data)


class BulkOperationDetailView(ApiView):
    required_permissions = {"GET": ()}

    @operation(
        "getBulkOperation",
        "Get a bulk operation",
        "Its progress. `status` is `done` or `aborted` at its end.",
        tag="operations",
        success={200: (BulkOperationRecord, "The operation.")},
    )
    def get(self, request: Request, operation_id: UUID) -> Response:
        require_view(request)
        return record(request, find(operation_id))


class BulkOperationAbortView(ApiView):
    required_permissions = {"POST": (VIEW,)}

    @operation(
        "abortBulkOperation",
        "Abort a bulk operation",
        "Ends it before its next batch. Tasks that it has changed stay as they are.",
        tag="operations",
        success={200: (BulkOperationRecord, "The aborted operation.")},
        body=NoBody,
    )
    def post(self, request: Request, operation_id: UUID) -> Response:
        parse_body(NoBody, request.data)
        require(request, BulkOperationVerb(find(operation_id).verb))
        return record(request, bulk_operations.abort(operation_id, actor=actor_of(request)))


def start(request: Request, body: BulkOperationRequest, query: TaskFilters) -> BulkOperation:
    """Start the operation, with an audit entry as in the admin.

    Raises:
        UnfilteredOperation
        Refusal: 422, it needs a reason.
    """
    selection, reason = query.task_filter(), " ".join(body.reason.split())
    _narrowed, _floor, estimate = eligible(body.action, selection)
    if not estimate:
        raise UnfilteredOperation("No task matches.")
    if estimate > bulk_operations.LARGE and not reason:
        raise invalid_body("/reason", f"An operation on more than {bulk_operations.LARGE:,} tasks needs a reason.")
    text = query.as_query()
    words = ", ".join(f"{name} {value}" for name, value in parse_qsl(text))
    return bulk_operations.plan(
        selection,
        verb=body.action,
        query=text,
        reason=reason,
        actor=actor_of(request),
        message=lambda number: f"{body.action.words.capitalize()} {bulk_operations.about(number)}: {words}.",
    )


def eligible(action: BulkOperationVerb, selection: TaskFilter) -> tuple[TaskFilter, UUID | None, int]:
    """The filter narrowed to the tasks that the action is possible for, where its scan ends, and how many there are."""
    narrowed = bulk_operations.eligible(action, selection)
    floor = filters.oldest_scanned(narrowed)
    return narrowed, floor, filters.count_of(narrowed, floor)


def permission_of(action: BulkOperationVerb) -> str:
    return MODEL_PERMISSIONS[bulk_operations.REQUIRED_ACTION[action]]


def require(request: Request, action: BulkOperationVerb) -> None:
    """Refuse a caller without the permission of this action."""
    if not has_permissions(request, permission_of(action)):
        raise PermissionDenied(f"Your account lacks the permission {permission_of(action)}.")


def require_view(request: Request) -> None:
    """Refuse a caller who may neither view operations nor start one, as the admin does."""
    permissions = ["taskqueue.view_bulkoperation"]
    starts = any(has_permissions(request, VIEW, permission_of(action)) for action in BulkOperationVerb)
    if not starts and not has_permissions(request, *permissions):
        raise PermissionDenied(f"Your account lacks the permission {permissions[0]}.")


def refuse_without_account(request: Request) -> None:
    # With DEBUG on, local callers need no login; the workers check the permissions of the account that started it.
    if request.user.pk is None:
        raise PermissionDenied("A bulk operation acts with the permissions of an account: log in, or send a token.")


def find(operation_id: UUID) -> BulkOperation:
    return find_row(BulkOperation.objects.all(), operation_id, f"No bulk operation has the id {operation_id}.")


def record(request: Request, found: BulkOperation) -> Response:
    redact([found], request)
    return Response(BulkOperationRecord(found).data)


def redact(operations: Iterable[BulkOperation], request: Request) -> None:
    """Leave out filters that search in payloads, for callers who may not see those of every pipeline."""
    rights = pipeline_permissions_of(request)
    sees = rights.has_permission(Action.VIEW_PAYLOAD) and not rights.pipelines_denied(Action.VIEW_PAYLOAD)
    for each in operations:
        if "payload" in each.selection and not sees:
            each.query = ""
