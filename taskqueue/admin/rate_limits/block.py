"""Block a rate limit for a while, and unblock it; both with a log entry."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse

from taskqueue.admin.rate_limits.remaining import Remaining, remaining_of
from taskqueue.admin.shared import formats
from taskqueue.admin.shared.durations import seconds_in
from taskqueue.admin.shared.pages import name_from_url, post_urls
from taskqueue.admin.shared.task_actions import actor_of
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.actions import limits
from taskqueue.errors import InvalidLimit
from taskqueue.models import RateLimit, RateLimitBucket

CHANGE = "taskqueue.change_ratelimit"
BUCKETS_SHOWN = 20


class BlockForm(forms.Form):
    """How long the rate limit is blocked, and why."""

    prefix = "block"
    key = forms.CharField(required=False, strip=False, help_text="The value of the rate limit's key.")
    delay = forms.CharField(label="For how long", help_text="Such as 90, 15m or 2h 30m.")
    reason = forms.CharField(max_length=300, help_text="Shown on every task that waits for this rate limit.")

    def __init__(self, rate: RateLimit, data: Any = None) -> None:
        super().__init__(data)
        if not rate.key:
            del self.fields["key"]

    def clean_delay(self) -> float:
        """Seconds. The engine checks the lower bound."""
        seconds = seconds_in(self.cleaned_data["delay"])
        if seconds is None or seconds > limits.LONGEST_BLOCK.total_seconds():
            raise ValidationError("Write seconds, or a length such as 15m or 2h 30m, up to 3,650 days.")
        return seconds


class BlockViews:
    """Mix-in of `RateLimitAdmin` with the views `block/` and `unblock/`, and their forms on the page."""

    admin_site: Any
    message_user: Any

    def get_urls(self) -> list[URLPattern]:
        # Before Django's own patterns, which would match these addresses as object ids.
        views = {"block": self.block_view, "unblock": self.unblock_view}
        return [*post_urls(self, "ratelimit", views), *super().get_urls()]  # type: ignore[misc]  # of ModelAdmin

    def block_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        rate = self.rate_of(request, object_id)
        if rate is None:
            return self.not_found(request, object_id)
        form = BlockForm(rate, request.POST)
        if form.is_valid() and block(rate, form, actor=actor_of(request)):
            self.message_user(request, "The rate limit is blocked. Calls wait until you unblock it.", messages.SUCCESS)
            return HttpResponseRedirect(page_url(rate))
        request.method = "GET"  # change_view shows the page, with the errors of this form
        return self.change_view(request, object_id, extra_context={"block_form": form})  # type: ignore[attr-defined,no-any-return]

    def unblock_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        rate = self.rate_of(request, object_id)
        if rate is None:
            return self.not_found(request, object_id)
        key = request.POST.get("key", "").replace("\0", "")
        if limits.unblock_rate(rate.pk, key, actor=actor_of(request)):
            self.message_user(request, "The rate limit is unblocked.", messages.SUCCESS)
        else:
            self.message_user(request, "The rate limit is not blocked.", messages.WARNING)
        return HttpResponseRedirect(page_url(rate))

    def rate_of(self, request: HttpRequest, object_id: str) -> RateLimit | None:
        """The rate limit; PermissionDenied when the user may not change it."""
        if not request.user.has_perm(CHANGE):
            raise PermissionDenied
        return RateLimit.objects.filter(pk=name_from_url(object_id)).first()

    def not_found(self, request: HttpRequest, object_id: str) -> HttpResponse:
        self.message_user(request, f"There is no rate limit {unquote(object_id)}.", messages.WARNING)
        return HttpResponseRedirect(reverse("admin:taskqueue_ratelimit_changelist"))

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Add the usage by key, and the form that blocks."""
        rate = RateLimit.objects.get(pk=kwargs["obj"].pk)  # read again: a form with errors has changed `obj`
        may_block = request.user.has_perm(CHANGE)
        context["buckets"], context["may_block"] = buckets_of(rate), may_block
        context["rate_address"] = quote(rate.pk)
        if may_block:
            context.setdefault("block_form", BlockForm(rate))
        return super().render_change_form(request, context, *args, **kwargs)  # type: ignore[misc]  # of ModelAdmin


def block(rate: RateLimit, form: BlockForm, *, actor: Actor) -> bool:
    """Block the rate limit with a log entry. False when it was refused; the form then has the errors."""
    values, key = form.cleaned_data, form.cleaned_data.get("key", "")
    delay = timedelta(seconds=values["delay"])
    try:
        length = formats.compact_duration(values["delay"])
        limits.block_rate(rate.pk, key, delay=delay, reason=values["reason"], length=length, actor=actor)
    except InvalidLimit as refusal:
        for error in refusal.errors:
            name = error.pointer.strip("/")
            form.add_error(name if name in form.fields else None, error.detail)
        return False
    return True


def buckets_of(rate: RateLimit) -> list[tuple[RateLimitBucket, Remaining]]:
    """The usage of a rate limit for the keys that were used last."""
    buckets = RateLimitBucket.objects.filter(rate=rate).annotate(seen_at=Now())
    latest = buckets.order_by("-theoretical_arrival_at", "pk")[:BUCKETS_SHOWN]
    return [(bucket, remaining_of(rate, bucket, bucket.seen_at)) for bucket in latest]


def page_url(rate: RateLimit) -> str:
    return reverse("admin:taskqueue_ratelimit_change", args=[quote(rate.pk)])
