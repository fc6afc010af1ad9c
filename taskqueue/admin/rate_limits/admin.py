"""Limits and rates in the admin: what the code says, what a person has said instead, and how much is used."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Prefetch, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin.rate_limits.budget import Budget, budget_of
from taskqueue.admin.rate_limits.holds import Holds
from taskqueue.admin.shared import formats, html, task_actions
from taskqueue.admin.shared.models import ChangeableAdmin, ReadOnlyAdmin
from taskqueue.engine.actions import audited, limits
from taskqueue.engine.queries import tasks
from taskqueue.errors import InvalidLimit
from taskqueue.models import ConcurrencyLimit, RateLimit, RateLimitBucket

NUMBERS = ("count", "per", "burst")


class LimitForm(forms.ModelForm):  # type: ignore[type-arg]  # takes no type arguments when it runs
    """A form whose values the engine checks."""

    def clean(self) -> dict[str, Any]:
        """Refuse what the engine would refuse, beside the field."""
        values: dict[str, Any] = super().clean() or {}
        try:
            self.check(values)
        except InvalidLimit as error:
            faults = {fault.pointer.strip("/") or None: fault.detail for fault in error.errors}
            for field, detail in faults.items():
                self.add_error(field if field in self.fields else None, ValidationError(detail))
        return values

    def check(self, values: dict[str, Any]) -> None:
        """See whether the engine takes it."""
        raise NotImplementedError


class ConcurrencyLimitForm(LimitForm):
    """The limits of a pipeline."""

    def check(self, values: dict[str, Any]) -> None:
        """See that they let somebody pass."""
        limits.check_concurrency_limit(self.instance, {name: values.get(name) for name in limits.LIMIT_FIELDS})


class RateForm(LimitForm):
    """The numbers of a rate."""

    def check(self, values: dict[str, Any]) -> None:
        """See that they make a rate."""
        limits.check_rate(self.instance, **{name: values.get(name) for name in NUMBERS})


@admin.register(ConcurrencyLimit)
class ConcurrencyLimitAdmin(ChangeableAdmin[ConcurrencyLimit]):
    """The limits of each pipeline."""

    form = ConcurrencyLimitForm
    list_display = ("pipeline", "shown_tasks", "shown_steps", "shown_key")
    list_display_links = ("pipeline",)
    ordering = ("pk",)
    search_fields = ("pipeline__name__startswith",)
    search_help_text = "Finds pipelines whose names begin with what you type."
    fields = (
        "shown_held", ("tasks", "shown_declared_tasks"), ("tasks_per_key", "shown_declared_tasks_per_key"),
        ("steps", "shown_declared_steps"), ("steps_per_key", "shown_declared_steps_per_key"), "shown_key",
    )  # fmt: skip
    readonly_fields = (
        "shown_held", "shown_declared_tasks", "shown_declared_tasks_per_key", "shown_declared_steps",
        "shown_declared_steps_per_key", "shown_key",
    )  # fmt: skip

    def save_model(self, request: HttpRequest, obj: ConcurrencyLimit, form: Any, change: Any) -> None:
        """Let the engine write it."""
        limits.change_concurrency_limit(obj.pk, {name: form.cleaned_data[name] for name in limits.LIMIT_FIELDS})

    @admin.display(description="Held now")
    def shown_held(self, concurrency_limit: ConcurrencyLimit) -> str:
        """How many places are taken."""
        held = tasks.places_of(concurrency_limit.pk)
        keys = ", ".join(f"{key} {number}" for key, number in held.most_used)
        return f"{formats.count_of(held.tasks, 'task')}, {formats.count_of(held.steps, 'step')}" + (
            f"; most by {keys}" if keys else ""
        )

    @admin.display(description="Tasks at a time")
    def shown_tasks(self, concurrency_limit: ConcurrencyLimit) -> str:
        """What holds, in all and for each key."""
        return in_words(
            concurrency_limit.tasks or concurrency_limit.declared_tasks,
            concurrency_limit.tasks_per_key or concurrency_limit.declared_tasks_per_key,
        )

    @admin.display(description="Steps at a time")
    def shown_steps(self, concurrency_limit: ConcurrencyLimit) -> str:
        """What holds, in all and for each key."""
        return in_words(
            concurrency_limit.steps or concurrency_limit.declared_steps,
            concurrency_limit.steps_per_key or concurrency_limit.declared_steps_per_key,
        )

    @admin.display(description="Key")
    def shown_key(self, concurrency_limit: ConcurrencyLimit) -> str:
        """What its tasks are grouped by."""
        return concurrency_limit.key or formats.NOTHING

    @admin.display(description="the code says")
    def shown_declared_tasks(self, concurrency_limit: ConcurrencyLimit) -> str:
        """Of tasks."""
        return in_words(concurrency_limit.declared_tasks)

    @admin.display(description="the code says")
    def shown_declared_tasks_per_key(self, concurrency_limit: ConcurrencyLimit) -> str:
        """Of tasks for each key."""
        return in_words(concurrency_limit.declared_tasks_per_key)

    @admin.display(description="the code says")
    def shown_declared_steps(self, concurrency_limit: ConcurrencyLimit) -> str:
        """Of steps."""
        return in_words(concurrency_limit.declared_steps)

    @admin.display(description="the code says")
    def shown_declared_steps_per_key(self, concurrency_limit: ConcurrencyLimit) -> str:
        """Of steps for each key."""
        return in_words(concurrency_limit.declared_steps_per_key)


@admin.register(RateLimit)
class RateAdmin(Holds, ChangeableAdmin[RateLimit]):
    """Rates by name."""

    form = RateForm
    list_display = ("name", "shown_effective", "shown_declared", "shown_left", "shown_uses")
    change_form_template = "admin/taskqueue/ratelimit/change_form.html"
    list_display_links = ("name",)
    ordering = ("name",)
    search_fields = ("name__startswith",)
    search_help_text = "Finds names that begin with what you type."
    fields = ("name", "shown_declared", "count", "per", "burst", "key", "shown_change", "shown_uses")
    readonly_fields = ("name", "shown_declared", "key", "shown_change", "shown_uses")

    def get_queryset(self, request: HttpRequest) -> QuerySet[RateLimit]:
        """Rates with the use of those that have no key, and the database's present moment."""
        whole = Prefetch("uses", RateLimitBucket.objects.filter(key=""), to_attr="whole_uses")
        return RateLimit.objects.annotate(seen_at=Now()).prefetch_related(whole)

    @admin.display(description="Left")
    def shown_left(self, rate: Any) -> SafeString | str:
        """What is left of it, and until when it is held; of a rate with a key each value has its own."""
        if rate.key:
            return f"for each {rate.key}"
        budget = budget_of(rate, next(iter(rate.whole_uses), None), rate.seen_at)
        return format_html("{}{}", budget.shown, blocked_until(budget))

    def save_model(self, request: HttpRequest, obj: RateLimit, form: Any, change: Any) -> None:
        """Let the engine write it, and ask anew what waits for it."""
        limits.change_rate_limit(obj.pk, **{name: form.cleaned_data[name] for name in NUMBERS})

    @admin.display(description="In force")
    def shown_effective(self, rate: RateLimit) -> str:
        """A person's numbers, else the code's."""
        return rate_in_words(rate.effective.count, rate.effective.per.total_seconds(), rate.effective.burst)

    @admin.display(description="The code says")
    def shown_declared(self, rate: RateLimit) -> str:
        """The code's numbers."""
        return rate_in_words(rate.declared_count, rate.declared_per.total_seconds(), rate.declared_burst)

    @admin.display(description="Changed here")
    def shown_change(self, rate: RateLimit) -> str:
        """When a person last changed it."""
        return formats.exact(rate.changed_at) if rate.changed_at else "never"

    @admin.display(description="Use")
    def shown_uses(self, rate: RateLimit) -> SafeString:
        """The way to how much is used."""
        address = reverse("admin:taskqueue_ratelimitbucket_changelist") + f"?q={rate.pk}"
        return format_html('<a href="{}">See how much is used</a>', address)


@admin.register(RateLimitBucket)
class RateLimitBucketAdmin(ReadOnlyAdmin[RateLimitBucket]):
    """How much of each rate is used, for each value of its key."""

    list_display = ("shown_rate", "key", "shown_left", "admitted", "shown_last", "shown_next", "shown_hold")
    list_display_links = None
    ordering = ("rate_id", "key")
    search_fields = ("rate__name__startswith",)
    search_help_text = "Finds rates whose names begin with what you type."
    actions = ("release_holds",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[RateLimitBucket]:
        """Uses with the database's present moment."""
        return RateLimitBucket.objects.select_related("rate").annotate(seen_at=Now())

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may see rates: their use is a part of them."""
        return request.user.has_perm("taskqueue.view_ratelimit") or request.user.has_perm("taskqueue.change_ratelimit")

    def has_release_permission(self, request: HttpRequest) -> bool:
        """Whoever may change rates."""
        return request.user.has_perm("taskqueue.change_ratelimit")

    @admin.action(description="Release the hold of selected rates", permissions=["release"])
    def release_holds(self, request: HttpRequest, queryset: QuerySet[RateLimitBucket]) -> None:
        """Let their users pass again."""
        chosen = queryset.filter(blocked_until__gt=Now()).order_by("pk")[: task_actions.LIMIT]
        done = sum(audited.lift(use.rate, use.key, actor=task_actions.actor_of(request)) for use in chosen)
        sentence = f"{formats.count_of(done, 'hold')} released." if done else "None of them is held."
        self.message_user(request, sentence, messages.SUCCESS if done else messages.WARNING)

    @admin.display(description="RateLimit")
    def shown_rate(self, use: RateLimitBucket) -> SafeString:
        """The way to its numbers."""
        address = reverse("admin:taskqueue_ratelimit_change", args=[use.rate_id])
        return format_html('<a href="{}">{}</a>', address, use.rate_id)

    @admin.display(description="Left")
    def shown_left(self, use: Any) -> SafeString:
        """What is left of its period."""
        return budget_of(use.rate, use, use.seen_at).shown

    @admin.display(description="Last")
    def shown_last(self, use: Any) -> SafeString:
        """When the last one passed."""
        return html.moment(use.last_admitted_at, use.seen_at)

    @admin.display(description="Next free")
    def shown_next(self, use: Any) -> SafeString:
        """When one that comes now might pass."""
        times = [use.theoretical_arrival_at - use.rate.tolerance, use.blocked_until]
        if use.passes_at is not None:
            times.append(use.passes_at - use.rate.tolerance)
        return html.moment(max(use.seen_at, *filter(None, times)), use.seen_at)

    @admin.display(description="Held until")
    def shown_hold(self, use: Any) -> SafeString | str:
        """Until when nobody passes, and why."""
        if use.blocked_until is None or use.blocked_until <= use.seen_at:
            return formats.NOTHING
        return format_html(
            '{}<span class="tq-under">{}</span>', html.moment(use.blocked_until, use.seen_at), use.block_reason
        )


def blocked_until(budget: Budget) -> SafeString | str:
    """Until when nobody passes, and why; nothing when it is not held."""
    if budget.blocked_until is None:
        return ""
    return format_html(
        '<span class="tq-under tq-held">held until {}: {}</span>',
        html.moment(budget.blocked_until, budget.now),
        budget.block_reason,
    )


def in_words(most: int | None, per_key: int | None = None) -> str:
    """Limits in words."""
    parts = [f"{most:,}"] if most is not None else []
    parts += [f"{per_key:,} for each key"] if per_key is not None else []
    return ", ".join(parts) or "no limit"


def rate_in_words(count: int, seconds: float, burst: int) -> str:
    """A rate in words."""
    several = f", {burst:,} at once" if burst > 1 else ""
    return f"{count:,} per {formats.wait_length(seconds)}{several}"
