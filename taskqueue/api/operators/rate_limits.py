"""Rate limits: list, get and change them, block and unblock them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final

from django.db.models import F
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
from taskqueue.api.serializers import Seconds, Time
from taskqueue.api.views import ApiView
from taskqueue.engine.actions import limits
from taskqueue.models import RateLimit, RateLimitBucket
from taskqueue.policies.limits import MAX_RATE_COUNT

MAX_SHOWN: Final = 1000
BUCKETS_SHOWN: Final = 20
LONGEST: Final = limits.LONGEST_BLOCK.total_seconds()
Count = Annotated[int | None, BeforeValidator(integral)]


class RateLimitChange(Body):
    """The numbers that change; the others stay. Null for that of the code."""

    count: Count = Field(default=None, ge=1, le=MAX_RATE_COUNT, description="Uses in a period.")
    per_seconds: float | None = Field(default=None, gt=0, le=LONGEST, description="The period, in seconds.")
    burst: Count = Field(default=None, ge=1, le=MAX_RATE_COUNT, description="Uses that may come at once.")


class RateLimitBlock(Body):
    """For how long a rate is blocked, and why."""

    seconds: float = Field(gt=0, le=LONGEST, description="How long, from now on.")
    reason: str = Field(min_length=1, max_length=300, description="Shown with the tasks that wait.")
    key: str = Field(default="", max_length=200, description="The value of its key; for a rate with a key.")


class RateLimitUnblock(Body):
    """Which block ends."""

    key: str = Field(default="", max_length=200, description="The value of its key; for a rate with a key.")


class RateNumbers(serializers.Serializer[Any]):
    """The numbers of a rate."""

    count = serializers.IntegerField(allow_null=True, help_text="Uses in a period.")
    per_seconds = Seconds(source="per", allow_null=True, help_text="The period.")
    burst = serializers.IntegerField(allow_null=True, help_text="Uses that may come at once.")


class RateLimitRecord(serializers.Serializer[Any]):
    """A rate limit."""

    name = serializers.CharField()
    key = serializers.CharField(allow_blank=True, help_text="The template of its key, or empty.")
    effective = RateNumbers(help_text="The numbers in force.")
    changed = RateNumbers(source="*", help_text="Those that were changed here; null for those of the code.")
    declared = serializers.SerializerMethodField(help_text="Those of the code.")
    changed_at = Time(allow_null=True)

    @extend_schema_field(RateNumbers)
    def get_declared(self, rate: Any) -> Any:
        values = {name: getattr(rate, f"declared_{name}") for name in limits.RATE_FIELDS}
        return RateNumbers(values).data


class RateLimitUsage(serializers.Serializer[Any]):
    """The use of a rate, for one value of its key."""

    key = serializers.CharField(allow_blank=True)
    admitted = serializers.IntegerField(help_text="Uses so far.")
    last_admitted_at = Time(allow_null=True)
    blocked_until = Time(allow_null=True)
    block_reason = serializers.CharField(allow_blank=True)


class RateLimitDetail(RateLimitRecord):
    """A rate limit and its use."""

    usage = RateLimitUsage(many=True, help_text=f"For the {BUCKETS_SHOWN} values of its key that were used last.")


class RateLimitList(serializers.Serializer[Any]):
    """Rate limits, by name."""

    rate_limits = RateLimitRecord(many=True)


class RateLimitListView(ApiView):
    required_permissions = {"GET": ("taskqueue.view_ratelimit",)}

    @operation(
        "listRateLimits",
        "List rate limits",
        f"The first {MAX_SHOWN:,} by name: rates of steps and throttles of pipelines.",
        tag="limits",
        success={200: (RateLimitList, "The rates.")},
    )
    def get(self, request: Request) -> Response:
        return Response(RateLimitList({"rate_limits": RateLimit.objects.order_by("name")[:MAX_SHOWN]}).data)


class RateLimitDetailView(ApiView):
    http_method_names = ["get", "patch", "head"]
    required_permissions = {
        "GET": ("taskqueue.view_ratelimit",),
        "PATCH": ("taskqueue.view_ratelimit", "taskqueue.change_ratelimit"),
    }

    @operation(
        "getRateLimit",
        "Get a rate limit",
        "Its numbers, its use and its blocks.",
        tag="limits",
        success={200: (RateLimitDetail, "The rate.")},
    )
    def get(self, request: Request, rate: str) -> Response:
        return detail(rate)

    @operation(
        "changeRateLimit",
        "Change a rate limit",
        "Changes what the body has; null sets a number back to that of the code. Tasks that wait for a time of this "
        "rate get another one.",
        tag="limits",
        success={200: (RateLimitDetail, "The changed rate.")},
        body=RateLimitChange,
        never=(409,),
    )
    def patch(self, request: Request, rate: str) -> Response:
        values = parse_body(RateLimitChange, request.data).model_dump(exclude_unset=True)
        if "per_seconds" in values:
            seconds = values.pop("per_seconds")
            values["per"] = None if seconds is None else timedelta(seconds=seconds)
        if values:
            limits.change_some_of_rate(find(rate).pk, values, actor=actor_of(request))
        return detail(rate)


class RateLimitBlockView(ApiView):
    required_permissions = {"POST": ("taskqueue.view_ratelimit", "taskqueue.change_ratelimit")}

    @operation(
        "blockRateLimit",
        "Block a rate limit",
        "Steps and starts that use it wait. It replaces an earlier block.",
        tag="limits",
        success={200: (RateLimitDetail, "The blocked rate.")},
        body=RateLimitBlock,
        never=(409,),
    )
    def post(self, request: Request, rate: str) -> Response:
        body = parse_body(RateLimitBlock, request.data)
        delay = timedelta(seconds=body.seconds)
        length = f"{body.seconds:g} s"
        limits.block_rate(
            find(rate).pk, body.key, delay=delay, reason=body.reason, length=length, actor=actor_of(request)
        )
        return detail(rate)


class RateLimitUnblockView(ApiView):
    required_permissions = {"POST": ("taskqueue.view_ratelimit", "taskqueue.change_ratelimit")}

    @operation(
        "unblockRateLimit",
        "Unblock a rate limit",
        "Ends a block, also one that `RetryAfter` began. A rate that is not blocked stays as it is.",
        tag="limits",
        success={200: (RateLimitDetail, "The rate.")},
        body=RateLimitUnblock,
        never=(409,),
    )
    def post(self, request: Request, rate: str) -> Response:
        key = parse_body(RateLimitUnblock, request.data).key
        limits.unblock_rate(find(rate).pk, key.replace("\x00", ""), actor=actor_of(request))
        return detail(rate)


def detail(name: str) -> Response:
    rate: Any = find(name)
    buckets = RateLimitBucket.objects.filter(rate=rate)
    rate.usage = buckets.order_by(F("theoretical_arrival_at").desc(), "pk")[:BUCKETS_SHOWN]
    return Response(RateLimitDetail(rate).data)


def find(name: str) -> RateLimit:
    """A rate by its name.

    Raises:
        Refusal: 404.
    """
    return find_row(RateLimit.objects.all(), name, f"No rate limit is called {name!r}.")
