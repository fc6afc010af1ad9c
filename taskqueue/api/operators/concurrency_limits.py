"""Concurrency limits of pipelines: list, get and change them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from drf_spectacular.utils import extend_schema_field
from pydantic import BeforeValidator, Field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api.authentication import actor_of
from taskqueue.api.fields import integral
from taskqueue.api.json_parser import parse_body
from taskqueue.api.openapi.operations import operation
from taskqueue.api.requests import Body
from taskqueue.api.rows import find_row
from taskqueue.api.views import ApiView
from taskqueue.engine.actions import limits
from taskqueue.engine.queries import tasks
from taskqueue.models import ConcurrencyLimit

Limit = Annotated[int | None, BeforeValidator(integral)]


class ConcurrencyLimitChange(Body):
    """The limits that change; the others stay. Null for the limit in the code."""

    tasks: Limit = Field(default=None, description="Tasks that have started and not ended.")
    tasks_per_key: Limit = Field(default=None, description="Tasks for each value of the key.")
    steps: Limit = Field(default=None, description="Steps that are executing.")
    steps_per_key: Limit = Field(default=None, description="Steps for each value of the key.")


class Limits(serializers.Serializer[Any]):
    """The four limits of a pipeline; null for none."""

    tasks = serializers.IntegerField(allow_null=True)
    tasks_per_key = serializers.IntegerField(allow_null=True)
    steps = serializers.IntegerField(allow_null=True)
    steps_per_key = serializers.IntegerField(allow_null=True)


class ConcurrencyLimitRecord(serializers.Serializer[Any]):
    """The concurrency limits of a pipeline."""

    pipeline = serializers.CharField(source="pipeline_id")
    key = serializers.CharField(allow_blank=True, help_text="The template of the key, or empty.")
    effective = serializers.SerializerMethodField(help_text="The limits in force.")
    changed = serializers.SerializerMethodField(help_text="Those that were changed here; null for those of the code.")
    declared = serializers.SerializerMethodField(help_text="Those of the code.")

    @extend_schema_field(Limits)
    def get_effective(self, limit: Any) -> Any:
        return limits_of(lambda name: getattr(limit, name) or getattr(limit, f"declared_{name}"))

    @extend_schema_field(Limits)
    def get_changed(self, limit: Any) -> Any:
        return limits_of(lambda name: getattr(limit, name))

    @extend_schema_field(Limits)
    def get_declared(self, limit: Any) -> Any:
        return limits_of(lambda name: getattr(limit, f"declared_{name}"))


def limits_of(value_of: Callable[[str], int | None]) -> dict[str, int | None]:
    return {name: value_of(name) for name in limits.LIMIT_FIELDS}


class ConcurrencyLimitDetail(ConcurrencyLimitRecord):
    """The concurrency limits of a pipeline, and how many slots are taken."""

    tasks_taken = serializers.IntegerField(help_text="Tasks that hold a slot.")
    steps_taken = serializers.IntegerField(help_text="Steps that hold a slot.")


class ConcurrencyLimitList(serializers.Serializer[Any]):
    """The concurrency limits of all pipelines, by name."""

    concurrency_limits = ConcurrencyLimitRecord(many=True)


class ConcurrencyLimitListView(ApiView):
    required_permissions = {"GET": ("taskqueue.view_concurrencylimit",)}

    @operation(
        "listConcurrencyLimits",
        "List concurrency limits",
        "Those of the code, those that were changed here, and those in force.",
        tag="limits",
        success={200: (ConcurrencyLimitList, "The limits.")},
    )
    def get(self, request: Request) -> Response:
        return Response(ConcurrencyLimitList({"concurrency_limits": ConcurrencyLimit.objects.order_by("pk")}).data)


class ConcurrencyLimitDetailView(ApiView):
    http_method_names = ["get", "patch", "head"]
    required_permissions = {
        "GET": ("taskqueue.view_concurrencylimit",),
        "PATCH": ("taskqueue.view_concurrencylimit", "taskqueue.change_concurrencylimit"),
    }

    @operation(
        "getConcurrencyLimit",
        "Get a pipeline's concurrency limits",
        "Also how many of its tasks and steps hold a slot now.",
        tag="limits",
        success={200: (ConcurrencyLimitDetail, "The limits.")},
    )
    def get(self, request: Request, name: str) -> Response:
        return detail(name)

    @operation(
        "changeConcurrencyLimit",
        "Change a pipeline's concurrency limits",
        "Changes what the body has; null sets a limit back to that of the code. It counts from the next claim and step "
        "on. Slots in use stay, also above a lower limit.",
        tag="limits",
        success={200: (ConcurrencyLimitDetail, "The changed limits.")},
        body=ConcurrencyLimitChange,
        never=(409,),
    )
    def patch(self, request: Request, name: str) -> Response:
        values = parse_body(ConcurrencyLimitChange, request.data).model_dump(exclude_unset=True)
        find(name)
        limits.change_concurrency_limit(name, values, actor=actor_of(request))
        return detail(name)


def detail(name: str) -> Response:
    limit: Any = find(name)
    taken = tasks.slots_of(name)
    limit.tasks_taken, limit.steps_taken = taken.tasks, taken.steps
    return Response(ConcurrencyLimitDetail(limit).data)


def find(name: str) -> ConcurrencyLimit:
    """The limits of a pipeline.

    Raises:
        Refusal: 404.
    """
    return find_row(ConcurrencyLimit.objects.all(), name, f"No pipeline with limits is called {name!r}.")
