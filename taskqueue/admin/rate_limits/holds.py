"""Holding a rate, so that nobody passes for a while, and lifting a hold: on the record of a user."""

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

from taskqueue.admin.rate_limits.budget import Budget, budget_of
from taskqueue.admin.shared import formats
from taskqueue.admin.shared.durations import seconds_in
from taskqueue.admin.shared.pages import named, posted_to
from taskqueue.admin.shared.task_actions import actor_of
from taskqueue.engine.actions import audited, limits
from taskqueue.engine.actions.audited import Actor
from taskqueue.errors import InvalidLimit
from taskqueue.models import RateLimit, RateLimitBucket

NEEDS = "taskqueue.change_ratelimit"
USES_SHOWN = 20


class HoldForm(forms.Form):
    """For how long nobody passes, and why."""

    prefix = "hold"
    key = forms.CharField(required=False, strip=False, help_text="The value of the rate's key.")
    delay = forms.CharField(label="For how long", help_text="Such as 90, 15m or 2h 30m.")
    reason = forms.CharField(max_length=300, help_text="Shown to everybody who asks why their tasks wait.")

    def __init__(self, rate: RateLimit, data: Any = None) -> None:
        super().__init__(data)
        if not rate.key:
            del self.fields["key"]

    def clean_delay(self) -> float:
        """Seconds; the engine has its bounds."""
        seconds = seconds_in(self.cleaned_data["delay"])
        if seconds is None or seconds > limits.LONGEST_HOLD.total_seconds():
            raise ValidationError("Write seconds, or a length such as 15m or 2h 30m, up to 3,650 days.")
        return seconds


class Holds:
    """The addresses of both deeds, for `RateAdmin`."""

    admin_site: Any
    message_user: Any

    def get_urls(self) -> list[URLPattern]:
        """Both before the stock ones, which would take them for names."""
        views = {"hold": self.hold_view, "lift": self.lift_view}
        ours = posted_to(self, "ratelimit", views)
        return [*ours, *super().get_urls()]  # type: ignore[misc]  # ModelAdmin comes after this class

    def hold_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let nobody pass for a while."""
        rate = self.rate_of(request, object_id)
        if rate is None:
            return self.gone(request, object_id)
        form = HoldForm(rate, request.POST)
        if form.is_valid() and held(rate, form, actor=actor_of(request)):
            self.message_user(request, "The rate is held. Steps and starts that need it wait.", messages.SUCCESS)
            return HttpResponseRedirect(page_of(rate))
        request.method = "GET"  # the page as it is, with what was typed into this one of its forms
        return self.change_view(request, object_id, extra_context={"hold_form": form})  # type: ignore[attr-defined,no-any-return]

    def lift_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let its users pass again."""
        rate = self.rate_of(request, object_id)
        if rate is None:
            return self.gone(request, object_id)
        key = request.POST.get("key", "").replace("\0", "")
        if audited.lift(rate, key, actor=actor_of(request)):
            self.message_user(request, "The hold is lifted.", messages.SUCCESS)
        else:
            self.message_user(request, "It is not held.", messages.WARNING)
        return HttpResponseRedirect(page_of(rate))

    def rate_of(self, request: HttpRequest, object_id: str) -> RateLimit | None:
        """The rate, for those who may change it."""
        if not request.user.has_perm(NEEDS):
            raise PermissionDenied
        return RateLimit.objects.filter(pk=named(object_id)).first()

    def gone(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Say that there is no such rate, on the list."""
        self.message_user(request, f"There is no rate {unquote(object_id)}.", messages.WARNING)
        return HttpResponseRedirect(reverse("admin:taskqueue_ratelimit_changelist"))

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The page, with what is used for each key, and the form for a hold."""
        rate = RateLimit.objects.get(pk=kwargs["obj"].pk)  # as it is: a form that is wrong has changed the other one
        may_hold = request.user.has_perm(NEEDS)
        context["uses"], context["may_hold"] = uses_of(rate), may_hold
        context["rate_address"] = quote(rate.pk)
        if may_hold:
            context.setdefault("hold_form", HoldForm(rate))
        return super().render_change_form(request, context, *args, **kwargs)  # type: ignore[misc]  # the same


def held(rate: RateLimit, form: HoldForm, *, actor: Actor) -> bool:
    """Hold it, on the record of a user. False when it was refused, and the form then says why."""
    values, key = form.cleaned_data, form.cleaned_data.get("key", "")
    delay = timedelta(seconds=values["delay"])
    try:
        length = formats.wait_length(values["delay"])
        audited.hold(rate, key, delay=delay, reason=values["reason"], length=length, actor=actor)
    except InvalidLimit as error:
        for fault in error.errors:
            name = fault.pointer.strip("/")
            form.add_error(name if name in form.fields else None, fault.detail)
        return False
    return True


def uses_of(rate: RateLimit) -> list[tuple[RateLimitBucket, Budget]]:
    """What is used of a rate, for the keys that were used last."""
    uses = (
        RateLimitBucket.objects.filter(rate=rate)
        .annotate(seen_at=Now())
        .order_by("-theoretical_arrival_at", "pk")[:USES_SHOWN]
    )
    return [(use, budget_of(rate, use, use.seen_at)) for use in uses]


def page_of(rate: RateLimit) -> str:
    """The address of a rate's page."""
    return reverse("admin:taskqueue_ratelimit_change", args=[quote(rate.pk)])
