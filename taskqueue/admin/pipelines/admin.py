"""Pipelines in the admin: what the deployed code defines and how it does; they are paused and limited from here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import reverse

from taskqueue.admin.pipelines import graph
from taskqueue.admin.pipelines.columns import PAUSE, RUN, PipelineChangeList, PipelineColumns, pause_of, switch_of
from taskqueue.admin.pipelines.filters import GroupFilter, OrderFilter, ShownFilter
from taskqueue.admin.pipelines.limits import (
    CHANGE_CONCURRENCY_LIMIT,
    CHANGE_RATE,
    PipelineLimits,
    PlacesForm,
    StartsForm,
)
from taskqueue.admin.pipelines.page import PipelinePage, page_of
from taskqueue.admin.pipelines.pause import Pauses
from taskqueue.admin.pipelines.submit import Submissions
from taskqueue.admin.rate_limits.admin import rate_in_words
from taskqueue.admin.shared import formats
from taskqueue.admin.shared.models import ReadOnlyAdmin
from taskqueue.admin.shared.pages import framed
from taskqueue.engine.access.permissions import Action, Rights
from taskqueue.models import Pipeline, RateLimit


@admin.register(Pipeline)
class PipelineAdmin(Pauses, PipelineLimits, Submissions, PipelineColumns, ReadOnlyAdmin[Pipeline]):
    """Pipelines by name."""

    list_display = (
        "shown_name", "shown_accepting", "shown_limits", "shown_queued", "shown_day", "shown_lengths", "shown_deeds",
    )  # fmt: skip
    list_display_links = ("shown_name",)
    ordering = ("name",)
    list_per_page = 50
    list_filter = (GroupFilter, ShownFilter, OrderFilter)
    search_fields = ("name__icontains",)
    search_help_text = "Search by any part of the name."

    def get_list_display(self, request: HttpRequest) -> Any:
        """The columns; the button only for those who may submit."""
        may_run = request.user.has_perm(RUN)
        return self.list_display if may_run else [name for name in self.list_display if name != "shown_deeds"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Pipeline]:
        """Pipelines with their limits and the database's present moment, without what only their pages show."""
        return (
            Pipeline.objects.select_related("concurrency_limit__rate")
            .defer("payload_schema", "payload_example", "result_schema", "policies", "retry")
            .annotate(seen_at=Now())
        )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """The list with figures."""
        return PipelineChangeList

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A pipeline's page."""
        if request.method == "POST":
            raise PermissionDenied  # the code alone defines it
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        return self.show_page(request, object_id)

    def show_page(
        self, request: HttpRequest, object_id: str, *, forms: Mapping[Any, Any] | None = None
    ) -> HttpResponse:
        """The page, with forms that were sent and could not be taken."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        name = unquote(object_id)
        page = None if "\x00" in name else page_of(name)
        if page is None:
            self.message_user(request, f"There is no pipeline {name}.", messages.WARNING)
            return HttpResponseRedirect(reverse("admin:taskqueue_pipeline_changelist"))
        is_live = not forms  # else its address is the form's, which answers no GET
        context = {**shown(page, request.user), **forms_of(page, request.user), **(forms or {}), "is_live": is_live}
        return framed(self, request, "pipeline/change_form.html", name, context)


def shown(page: PipelinePage, user: Any) -> dict[str, Any]:
    """What the template of a pipeline's page needs."""
    pipeline = page.pipeline
    may_pause = user.has_perm(PAUSE)
    return {
        "page": page,
        "pipeline": pipeline,
        "switch": switch_of(pipeline, may_pause=may_pause),
        "pause": pause_of(pipeline),
        "may_pause": may_pause,
        "may_run": Rights(user).may(Action.RUN, pipeline.name),
        "stages": graph.stages_of(page.nodes),
        "rate_says": says_of(page.concurrency_limit.rate)
        if page.concurrency_limit is not None and page.concurrency_limit.rate is not None
        else "",
        "retry": formats.waits(pipeline.retry),
        "documents": [
            ("Example payload", formats.excerpt(pipeline.payload_example)),
            ("Payload schema", formats.excerpt(pipeline.payload_schema)),
            ("Result schema", formats.excerpt(pipeline.result_schema)),
            ("Policies in the code", formats.excerpt(pipeline.policies)),
        ],
        "registered": formats.exact(pipeline.registered_at),
        "updated": formats.exact(pipeline.updated_at),
    }


def says_of(rate: RateLimit) -> str:
    """What the code says of a rate."""
    return rate_in_words(rate.declared_count, rate.declared_per.total_seconds(), rate.declared_burst)


def forms_of(page: PipelinePage, user: Any) -> dict[str, Any]:
    """The forms that change limits, for those who may."""
    concurrency_limit = page.concurrency_limit
    places = (
        PlacesForm(instance=concurrency_limit)
        if concurrency_limit is not None and user.has_perm(CHANGE_CONCURRENCY_LIMIT)
        else None
    )
    starts = (
        StartsForm(instance=concurrency_limit.rate)
        if concurrency_limit is not None and concurrency_limit.rate and user.has_perm(CHANGE_RATE)
        else None
    )
    return {"places": places, "starts": starts}
