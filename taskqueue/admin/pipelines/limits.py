"""The forms on a pipeline's page that change its concurrency limits and its throttle."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from taskqueue.admin.rate_limits.admin import ConcurrencyLimitForm, RateLimitForm
from taskqueue.admin.shared import formats
from taskqueue.admin.shared.links import page_url
from taskqueue.admin.shared.pages import name_from_url, redirect
from taskqueue.admin.shared.task_actions import actor_of
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.actions import limits
from taskqueue.models import ConcurrencyLimit, Pipeline, RateLimit

CHANGE_CONCURRENCY_LIMIT, CHANGE_RATE_LIMIT = "taskqueue.change_concurrencylimit", "taskqueue.change_ratelimit"


class LimitsForm(ConcurrencyLimitForm):
    prefix = "limits"

    class Meta:
        model = ConcurrencyLimit
        fields = tuple(limits.LIMIT_FIELDS)
        help_texts: ClassVar[dict[str, str]] = {
            "tasks": "Tasks that have started and not ended. Empty: the limit in code.",
            "tasks_per_key": "Tasks for each value of the key. Empty: the limit in code.",
            "steps": "Steps that are executing. Empty: the limit in code.",
            "steps_per_key": "Steps for each value of the key. Empty: the limit in code.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, declared in limits.LIMIT_FIELDS.items():
            limit = getattr(self.instance, declared)
            self.fields[name].widget.attrs["placeholder"] = "unlimited" if limit is None else f"{limit:,}"


class ThrottleForm(RateLimitForm):
    prefix = "throttle"

    class Meta:
        model = RateLimit
        fields = limits.RATE_FIELDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in limits.RATE_FIELDS:
            self.fields[name].widget.attrs["placeholder"] = str(getattr(self.instance, f"declared_{name}"))


def limits_view(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    if not request.user.has_perm(CHANGE_CONCURRENCY_LIMIT):
        raise PermissionDenied
    limit = ConcurrencyLimit.objects.filter(pk=name_from_url(object_id)).first()
    return save(admin, request, object_id, None if limit is None else LimitsForm(request.POST, instance=limit))


def throttle_view(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    if not request.user.has_perm(CHANGE_RATE_LIMIT):
        raise PermissionDenied
    throttled = ConcurrencyLimit.objects.select_related("rate").filter(rate__isnull=False)
    limit = throttled.filter(pk=name_from_url(object_id)).first()
    form = None if limit is None else ThrottleForm(request.POST, instance=limit.rate)
    return save(admin, request, object_id, form)


def save(admin: Any, request: HttpRequest, object_id: str, form: LimitsForm | ThrottleForm | None) -> HttpResponse:
    """Save the form with a log entry; or show the page with the form's errors."""
    address = page_url("pipeline", name_from_url(object_id))
    if form is None:
        return redirect(admin, request, address, "This pipeline has no such limit.", messages.WARNING)
    if not form.is_valid():
        page: HttpResponse = admin.show_page(request, object_id, forms={form.prefix: form})
        return page
    if not form.changed_data:
        return HttpResponseRedirect(address)
    pipeline = Pipeline.objects.only("pk").get(pk=name_from_url(object_id))
    change_limits(pipeline, form, actor=actor_of(request))
    message = "The limits are changed. They apply to all tasks that start from now on."
    return redirect(admin, request, address, message)


def change_limits(pipeline: Pipeline, form: LimitsForm | ThrottleForm, *, actor: Actor) -> None:
    said = changes_text(form)
    if isinstance(form, LimitsForm):
        values = {name: form.cleaned_data[name] for name in limits.LIMIT_FIELDS}
        limits.change_concurrency_limit(pipeline.pk, values, message=said, actor=actor)
    else:
        values = {name: form.cleaned_data[name] for name in limits.RATE_FIELDS}
        limits.change_rate_limit(form.instance.pk, **values, pipeline=pipeline.pk, message=said, actor=actor)


def changes_text(form: LimitsForm | ThrottleForm) -> str:
    """The log message, such as "Changed tasks from the limit in code to 3."."""
    changes = [
        f"{name.replace('_', ' ')} from {value_text(form.initial.get(name))} to {value_text(form.cleaned_data[name])}"
        for name in form.changed_data
    ]
    return f"Changed {', '.join(changes)}."


def value_text(value: Any) -> str:
    """A limit in words; None stands for the limit in code."""
    if value is None:
        return "the limit in code"
    return formats.compact_duration(value.total_seconds()) if hasattr(value, "total_seconds") else f"{value:,}"
