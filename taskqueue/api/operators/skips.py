"""Requests that created no task."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api.fields import Text
from taskqueue.api.openapi.operations import operation
from taskqueue.api.pagination import MAX_PAGE_SIZE, PAGE_SIZE
from taskqueue.api.parameters import Query
from taskqueue.api.serializers import SkipRecord
from taskqueue.api.tasks.filters import split_commas
from taskqueue.api.views import ApiView
from taskqueue.models import Skip
from taskqueue.states import SkipKind


class SkipQuery(Query):
    """Filters and page of the list of skipped requests."""

    pipeline: Text = Field(default="", min_length=1, max_length=200, description="Requests for this pipeline.")
    kind: Annotated[list[SkipKind], BeforeValidator(split_commas)] = Field(
        default_factory=list,
        description="Requests that were skipped for one of these reasons: repeat it, or separate them by commas.",
    )
    before: int | None = Field(
        default=None, ge=1, le=2**63 - 1, description="Requests older than the one with this id: `next_before`."
    )
    limit: int = Field(default=PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE, description="Rows per page.")


class SkippedRequest(SkipRecord):
    """A request that created no task, with its pipeline."""

    id = serializers.IntegerField()
    pipeline = serializers.CharField(source="pipeline_id")


class SkipPage(serializers.Serializer[Any]):
    """Skipped requests, newest first."""

    skips = SkippedRequest(many=True)
    next_before = serializers.IntegerField(allow_null=True, help_text="`before` of the next page; null on the last.")


class SkipListView(ApiView):
    required_permissions = {"GET": ("taskqueue.view_skip",)}

    @operation(
        "listSkips",
        "List skipped requests",
        "Requests that created no task, because they were skipped or changed an existing task. Newest first.",
        tag="tasks",
        success={200: (SkipPage, "A page of skipped requests.")},
        query=SkipQuery,
    )
    def get(self, request: Request) -> Response:
        query = SkipQuery.of(request.query_params)
        found = Skip.objects.order_by("-pk")
        if query.pipeline:
            found = found.filter(pipeline=query.pipeline)
        if query.kind:
            found = found.filter(kind__in=query.kind)
        if query.before:
            found = found.filter(pk__lt=query.before)
        rows = list(found[: query.limit + 1])
        page = rows[: query.limit]
        return Response(SkipPage({"skips": page, "next_before": page[-1].pk if len(rows) > query.limit else None}).data)
