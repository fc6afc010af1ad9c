"""Block a rate limit for a while, and unblock it; both with a log entry."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse

from taskqueue.admin.rate_limits.remaining import Remaining, remaining_of
from taskqueue.admin.shared import formats
from taskqueue.admin.shared.links import list_url, page_url
from taskqueue.admin.shared.pages import name_from_url, redirect
from taskqueue.admin.shared.task_actions import actor_of
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.actions import limits
from taskqueue.errors import InvalidLimit
from taskqueue.forms.form_values import add_errors, seconds_in
from taskqueue.models import RateLimit, RateLimitBucket

CHANGE = "taskqueue.change_ratelimit"
BUCKETS_SHOWN = 20


class BlockForm(forms.Form):
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


def block_view(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    rate = changeable_rate(request, object_id)
    if rate is None:
        return not_found(admin, request, object_id)
    form = BlockForm(rate, request.POST)
    if form.is_valid() and block(rate, form, actor=actor_of(request)):
        message = "The rate limit is blocked. Calls wait until you unblock it."
        return redirect(admin, request, page_url("ratelimit", rate.pk), message)
    request.method = "GET"  # change_view shows the page, with the errors of this form
    page: HttpResponse = admin.change_view(request, object_id, extra_context={"block_form": form})
    return page


def unblock_view(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    rate = changeable_rate(request, object_id)
    if rate is None:
        return not_found(admin, request, object_id)
    address, key = page_url("ratelimit", rate.pk), request.POST.get("key", "").replace("\0", "")
    if limits.unblock_rate(rate.pk, key, actor=actor_of(request)):
        return redirect(admin, request, address, "The rate limit is unblocked.")
    return redirect(admin, request, address, "The rate limit is not blocked.", messages.WARNING)


def changeable_rate(request: HttpRequest, object_id: str) -> RateLimit | None:
    if not request.user.has_perm(CHANGE):
        raise PermissionDenied
    return RateLimit.objects.filter(pk=name_from_url(object_id)).first()


def not_found(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    message = f"There is no rate limit {unquote(object_id)}."
    return redirect(admin, request, list_url("ratelimit"), message, messages.WARNING)


def block(rate: RateLimit, form: BlockForm, *, actor: Actor) -> bool:
    """Block the rate limit with a log entry. False when it was refused; the form then has the errors."""
    values, key = form.cleaned_data, form.cleaned_data.get("key", "")
    delay = timedelta(seconds=values["delay"])
    try:
        length = formats.compact_duration(values["delay"])
        limits.block_rate(rate.pk, key, delay=delay, reason=values["reason"], length=length, actor=actor)
    except InvalidLimit as refusal:
        add_errors(form, refusal.errors)
        return False
    return True


def buckets_of(rate: RateLimit) -> list[tuple[RateLimitBucket, Remaining]]:
    """The usage of a rate limit for the keys that were used last."""
    buckets = RateLimitBucket.objects.filter(rate=rate).annotate(seen_at=Now())
    latest = buckets.order_by("-theoretical_arrival_at", "pk")[:BUCKETS_SHOWN]
    return [(bucket, remaining_of(rate, bucket, bucket.seen_at)) for bucket in latest]
