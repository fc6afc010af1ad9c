"""Concurrency limits, rate limits and their usage: the limits in code, and those that replace them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import quote
from django.core.exceptions import ValidationError
from django.db.models import Prefetch, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin.rate_limits.block import CHANGE, BlockForm, block_view, buckets_of, unblock_view
from taskqueue.admin.rate_limits.remaining import Remaining, next_admission, remaining_of
from taskqueue.admin.shared import formats, html, task_actions
from taskqueue.admin.shared.links import link, list_url, page_url
from taskqueue.admin.shared.models import ChangeableAdmin, ReadOnlyAdmin
from taskqueue.admin.shared.pages import POST
from taskqueue.engine.actions import limits
from taskqueue.engine.queries import tasks
from taskqueue.errors import InvalidLimit
from taskqueue.models import ConcurrencyLimit, RateLimit, RateLimitBucket


class LimitForm(forms.ModelForm):  # type: ignore[type-arg]  # the class takes no type arguments at run time
    """A form whose values the engine validates."""

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        try:
            self.check(values)
        except InvalidLimit as error:
            errors = {each.pointer.strip("/") or None: each.detail for each in error.errors}
            for field, detail in errors.items():
                self.add_error(field if field in self.fields else None, ValidationError(detail))
        return values

    def check(self, values: dict[str, Any]) -> None:
        """Raise InvalidLimit when the engine would refuse the values."""
        raise NotImplementedError


class ConcurrencyLimitForm(LimitForm):
    def check(self, values: dict[str, Any]) -> None:
        limits.check_concurrency_limit(self.instance, {name: values.get(name) for name in limits.LIMIT_FIELDS})


class RateLimitForm(LimitForm):
    def check(self, values: dict[str, Any]) -> None:
        limits.check_rate(self.instance, **{name: values.get(name) for name in limits.RATE_FIELDS})


def in_code(field: str) -> Callable[[Any, ConcurrencyLimit], str]:
    @admin.display(description="limit in code")
    def column(_admin: Any, limit: ConcurrencyLimit) -> str:
        return limits_text(getattr(limit, field))

    return column


@admin.register(ConcurrencyLimit)
class ConcurrencyLimitAdmin(ChangeableAdmin[ConcurrencyLimit]):
    form = ConcurrencyLimitForm
    list_display = ("pipeline", "task_limits", "step_limits", "concurrency_key")
    list_display_links = ("pipeline",)
    ordering = ("pk",)
    search_fields = ("pipeline__name__startswith",)
    search_help_text = "Search by the beginning of the pipeline's name."
    fields = (
        "slots_taken", ("tasks", "tasks_in_code"), ("tasks_per_key", "tasks_per_key_in_code"),
        ("steps", "steps_in_code"), ("steps_per_key", "steps_per_key_in_code"), "concurrency_key",
    )  # fmt: skip
    readonly_fields = (
        "slots_taken", "tasks_in_code", "tasks_per_key_in_code", "steps_in_code", "steps_per_key_in_code",
        "concurrency_key",
    )  # fmt: skip
    tasks_in_code = in_code("declared_tasks")
    tasks_per_key_in_code = in_code("declared_tasks_per_key")
    steps_in_code = in_code("declared_steps")
    steps_per_key_in_code = in_code("declared_steps_per_key")

    def save_model(self, request: HttpRequest, obj: ConcurrencyLimit, form: Any, change: Any) -> None:
        limits.change_concurrency_limit(obj.pk, {name: form.cleaned_data[name] for name in limits.LIMIT_FIELDS})

    @admin.display(description="Slots taken")
    def slots_taken(self, limit: ConcurrencyLimit) -> str:
        taken = tasks.slots_of(limit.pk)
        keys = ", ".join(f"{key} {number}" for key, number in taken.busiest_keys)
        counts = f"{formats.count_of(taken.tasks, 'task')}, {formats.count_of(taken.steps, 'step')}"
        return f"{counts}; most by {keys}" if keys else counts

    @admin.display(description="Tasks at a time")
    def task_limits(self, limit: ConcurrencyLimit) -> str:
        return limits_text(limit.tasks or limit.declared_tasks, limit.tasks_per_key or limit.declared_tasks_per_key)

    @admin.display(description="Steps at a time")
    def step_limits(self, limit: ConcurrencyLimit) -> str:
        return limits_text(limit.steps or limit.declared_steps, limit.steps_per_key or limit.declared_steps_per_key)

    @admin.display(description="Key")
    def concurrency_key(self, limit: ConcurrencyLimit) -> str:
        return limit.key or formats.EMPTY_VALUE


@admin.register(RateLimit)
class RateLimitAdmin(ChangeableAdmin[RateLimit]):
    form = RateLimitForm
    list_display = ("name", "effective_limit", "limit_in_code", "remaining", "usage")
    change_form_template = "admin/taskqueue/ratelimit/change_form.html"
    list_display_links = ("name",)
    ordering = ("name",)
    search_fields = ("name__startswith",)
    search_help_text = "Search by the beginning of the name."
    fields = ("name", "limit_in_code", "count", "per", "burst", "key", "last_changed", "usage")
    readonly_fields = ("name", "limit_in_code", "key", "last_changed", "usage")
    views = (
        ("<path:object_id>/block/", "block", block_view, POST),
        ("<path:object_id>/unblock/", "unblock", unblock_view, POST),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[RateLimit]:
        """Rate limits, each with the bucket for the empty key in `own_buckets`."""
        own_buckets = Prefetch("uses", RateLimitBucket.objects.filter(key=""), to_attr="own_buckets")
        return super().get_queryset(request).prefetch_related(own_buckets)

    def save_model(self, request: HttpRequest, obj: RateLimit, form: Any, change: Any) -> None:
        limits.change_rate_limit(obj.pk, **{name: form.cleaned_data[name] for name in limits.RATE_FIELDS})

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Add the usage by key, and the form that blocks."""
        rate = RateLimit.objects.get(pk=kwargs["obj"].pk)  # read again: a form with errors has changed `obj`
        may_block = request.user.has_perm(CHANGE)
        context |= {"buckets": buckets_of(rate), "may_block": may_block, "rate_address": quote(rate.pk)}
        if may_block:
            context.setdefault("block_form", BlockForm(rate))
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="Left")
    def remaining(self, rate: Any) -> SafeString | str:
        """What is left, and until when it is blocked. A keyed rate limit has that for each value of its key."""
        if rate.key:
            return f"per {rate.key}"
        remaining = remaining_of(rate, next(iter(rate.own_buckets), None), rate.seen_at)
        return format_html("{}{}", remaining.meter, block_note(remaining))

    @admin.display(description="Effective limit")
    def effective_limit(self, rate: RateLimit) -> str:
        return rate_text(rate.effective.count, rate.effective.per.total_seconds(), rate.effective.burst)

    @admin.display(description="Limit in code")
    def limit_in_code(self, rate: RateLimit) -> str:
        return limit_in_code(rate)

    @admin.display(description="Last changed here")
    def last_changed(self, rate: RateLimit) -> str:
        return formats.exact(rate.changed_at) if rate.changed_at else "never"

    @admin.display(description="Usage")
    def usage(self, rate: RateLimit) -> SafeString:
        return link(list_url("ratelimitbucket", q=rate.pk), "Usage")


@admin.register(RateLimitBucket)
class RateLimitBucketAdmin(ReadOnlyAdmin[RateLimitBucket]):
    list_display = ("rate_link", "key", "remaining", "admitted", "last_admission", "next_admission", "blocked")
    list_display_links = None
    list_select_related = ("rate",)
    ordering = ("rate_id", "key")
    search_fields = ("rate__name__startswith",)
    search_help_text = "Search by the beginning of the rate limit's name."
    actions = ("unblock_selected",)
    last_admission = html.moment_column("Last", "last_admitted_at")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Users who may view or change rate limits may see their usage."""
        return request.user.has_perm("taskqueue.view_ratelimit") or request.user.has_perm(CHANGE)

    def has_unblock_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(CHANGE)

    @admin.action(description="Unblock selected rate limits", permissions=["unblock"])
    def unblock_selected(self, request: HttpRequest, queryset: QuerySet[RateLimitBucket]) -> None:
        actor = task_actions.actor_of(request)
        blocked = queryset.filter(blocked_until__gt=Now()).order_by("pk")[: task_actions.MAX_TASKS]
        count = sum(limits.unblock_rate(bucket.rate.pk, bucket.key, actor=actor) for bucket in blocked)
        if count:
            self.message_user(request, f"{formats.count_of(count, 'rate limit')} unblocked.", messages.SUCCESS)
        else:
            self.message_user(request, "None of them is blocked.", messages.WARNING)

    @admin.display(description="Rate limit")
    def rate_link(self, bucket: RateLimitBucket) -> SafeString:
        return link(page_url("ratelimit", bucket.rate_id), bucket.rate_id)

    @admin.display(description="Left")
    def remaining(self, bucket: Any) -> SafeString:
        return remaining_of(bucket.rate, bucket, bucket.seen_at).meter

    @admin.display(description="Next")
    def next_admission(self, bucket: Any) -> SafeString:
        return html.moment(next_admission(bucket.rate, bucket, bucket.seen_at), bucket.seen_at)

    @admin.display(description="Blocked")
    def blocked(self, bucket: Any) -> SafeString | str:
        if bucket.blocked_until is None or bucket.blocked_until <= bucket.seen_at:
            return formats.EMPTY_VALUE
        return html.with_note(html.moment(bucket.blocked_until, bucket.seen_at), bucket.block_reason)


def block_note(remaining: Remaining) -> SafeString | str:
    if remaining.blocked_until is None:
        return ""
    return format_html(
        '<span class="tq-under tq-blocked">blocked until {}: {}</span>',
        html.moment(remaining.blocked_until, remaining.now),
        remaining.block_reason,
    )


def limit_in_code(rate: RateLimit) -> str:
    return rate_text(rate.declared_count, rate.declared_per.total_seconds(), rate.declared_burst)


def limits_text(most: int | None, per_key: int | None = None) -> str:
    """A concurrency limit in words, such as "2, 1 per key"."""
    parts = [f"{most:,}"] if most is not None else []
    parts += [f"{per_key:,} per key"] if per_key is not None else []
    return ", ".join(parts) or "unlimited"


def rate_text(count: int, seconds: float, burst: int) -> str:
    """A rate limit in words, such as "10 per 1s, 5 at once"."""
    at_once = f", {burst:,} at once" if burst > 1 else ""
    return f"{count:,} per {formats.compact_duration(seconds)}{at_once}"
