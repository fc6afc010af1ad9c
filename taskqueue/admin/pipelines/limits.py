"""The limits of a pipeline on its own page: to see what holds, and to change it at once."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse

from taskqueue.admin.rate_limits.admin import NUMBERS, ConcurrencyLimitForm, RateForm
from taskqueue.admin.shared import formats
from taskqueue.admin.shared.pages import named, posted_to
from taskqueue.admin.shared.task_actions import actor_of
from taskqueue.engine.actions import audited, limits
from taskqueue.engine.actions.audited import Actor
from taskqueue.models import ConcurrencyLimit, Pipeline, RateLimit

CHANGE_CONCURRENCY_LIMIT, CHANGE_RATE = "taskqueue.change_concurrencylimit", "taskqueue.change_ratelimit"


class PlacesForm(ConcurrencyLimitForm):
    """How many tasks and steps at a time."""

    prefix = "places"
    helps: ClassVar[dict[str, str]] = {
        "tasks": "Tasks that have started and not ended. Empty: the limit in code.",
        "tasks_per_key": "The same, for each value of the key.",
        "steps": "Steps that execute right now. Empty: the limit in code.",
        "steps_per_key": "The same, for each value of the key.",
    }

    class Meta:
        model = ConcurrencyLimit
        fields = tuple(limits.LIMIT_FIELDS)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, declared in limits.LIMIT_FIELDS.items():
            most = getattr(self.instance, declared)
            self.fields[name].help_text = self.helps[name]
            self.fields[name].widget.attrs["placeholder"] = "unlimited" if most is None else f"{most:,}"


class StartsForm(RateForm):
    """How many starts in a period."""

    prefix = "starts"

    class Meta:
        model = RateLimit
        fields = NUMBERS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in NUMBERS:
            self.fields[name].widget.attrs["placeholder"] = str(getattr(self.instance, f"declared_{name}"))


class PipelineLimits:
    """The addresses to which the forms of a pipeline's page are sent, for `PipelineAdmin`."""

    admin_site: Any
    message_user: Any
    show_page: Any

    def get_urls(self) -> list[URLPattern]:
        """Both before the stock ones, which would take them for names."""
        views = {"places": self.places_view, "starts": self.starts_view}
        ours = posted_to(self, "pipeline", views)
        return [*ours, *super().get_urls()]  # type: ignore[misc]  # ModelAdmin comes after this class

    def places_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Change how many tasks and steps there may be at a time."""
        if not request.user.has_perm(CHANGE_CONCURRENCY_LIMIT):
            raise PermissionDenied
        concurrency_limit = ConcurrencyLimit.objects.filter(pk=named(object_id)).first()
        return self.changed(
            request,
            object_id,
            None if concurrency_limit is None else PlacesForm(request.POST, instance=concurrency_limit),
        )

    def starts_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Change the rate of its starts."""
        if not request.user.has_perm(CHANGE_RATE):
            raise PermissionDenied
        name = named(object_id)
        concurrency_limit = ConcurrencyLimit.objects.select_related("rate").filter(pk=name, rate__isnull=False).first()
        return self.changed(
            request,
            object_id,
            None if concurrency_limit is None else StartsForm(request.POST, instance=concurrency_limit.rate),
        )

    def changed(self, request: HttpRequest, object_id: str, form: PlacesForm | StartsForm | None) -> HttpResponse:
        """Write what the form says, on the record of a user; or show the page with what is wrong."""
        if form is None:
            self.message_user(request, "This pipeline has no such limit.", messages.WARNING)
        elif not form.is_valid():
            return self.show_page(request, object_id, forms={form.prefix: form})  # type: ignore[no-any-return]
        elif form.changed_data:
            pipeline = Pipeline.objects.only("pk").get(pk=named(object_id))
            written(pipeline, form, actor=actor_of(request))
            self.message_user(request, "The limits are changed. They hold from the next start on.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:taskqueue_pipeline_change", args=[object_id]))


def written(pipeline: Pipeline, form: PlacesForm | StartsForm, *, actor: Actor) -> None:
    """Let the engine write it, on the record of a user."""
    said = sentence_of(form)
    if isinstance(form, PlacesForm):
        values = {name: form.cleaned_data[name] for name in limits.LIMIT_FIELDS}
        audited.change_places(pipeline, values, said=said, actor=actor)
    else:
        values = {name: form.cleaned_data[name] for name in NUMBERS}
        audited.change_starts(pipeline, form.instance.pk, values, said=said, actor=actor)


def sentence_of(form: PlacesForm | StartsForm) -> str:
    """What was changed, from what to what."""
    changes = [
        f"{name.replace('_', ' ')} from {shown(form.initial.get(name))} to {shown(form.cleaned_data[name])}"
        for name in form.changed_data
    ]
    return f"Changed {', '.join(changes)}."


def shown(value: Any) -> str:
    """A limit in words; none is what the code says."""
    if value is None:
        return "the code's"
    return formats.wait_length(value.total_seconds()) if hasattr(value, "total_seconds") else f"{value:,}"
