"""The columns of the list of pipelines, and what its page reads for all rows at once."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import InvalidPage, Paginator
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin.pipelines import filters as pipeline_filters
from taskqueue.admin.pipelines.stats import capped, figures_of
from taskqueue.admin.rate_limits.budget import budget_of
from taskqueue.admin.shared import formats, html
from taskqueue.engine.access.permissions import Action, Rights
from taskqueue.models import ConcurrencyLimit, Pipeline, RateLimitBucket

PAUSE, RUN = "taskqueue.pause_pipeline", "taskqueue.add_task"
SORTED_MOST = 1000
"""So many pipelines are listed. Their figures are read before they are put in order."""


class PipelineChangeList(ChangeList):
    """A page of pipelines, each with its figures and with what its user may do."""

    def get_results(self, request: HttpRequest) -> None:
        """Read all of them with their figures, put them in order, and read the limits of those on the page."""
        pipelines: list[Any] = list(self.queryset[:SORTED_MOST])
        found = figures_of(row.pk for row in pipelines)
        for row in pipelines:
            row.figures = found[row.pk]
        chosen = pipeline_filters.chosen(pipelines, self.params)
        self.paginator = Paginator(chosen, self.list_per_page)
        self.result_count = self.paginator.count
        self.show_full_result_count = self.can_show_all = False
        self.full_result_count, self.show_admin_actions = None, True
        self.multi_page = self.result_count > self.list_per_page
        try:
            self.result_list = list(self.paginator.page(self.page_num if self.multi_page else 1).object_list)
        except InvalidPage as error:
            raise IncorrectLookupParameters from error
        self.add_limits(request, self.result_list)

    def add_limits(self, request: HttpRequest, rows: list[Any]) -> None:
        """What is left of each throttle, and what the user may do: one more query."""
        rates = {
            concurrency_limit.rate_id
            for row in rows
            if (concurrency_limit := concurrency_limit_of(row))
            and concurrency_limit.rate_id
            and not concurrency_limit.rate_is_keyed
        }
        uses = {use.rate_id: use for use in RateLimitBucket.objects.filter(rate__in=rates, key="")}
        may_pause, closed = request.user.has_perm(PAUSE), Rights(request.user).pipelines_denied(Action.RUN)
        for row in rows:
            row.may_pause, row.is_closed = may_pause, row.pk in closed
            concurrency_limit = concurrency_limit_of(row)
            row.use = uses.get(concurrency_limit.rate_id or "") if concurrency_limit is not None else None


class PipelineColumns:
    """Methods for `list_display`."""

    @admin.display(description="Pipeline")
    def shown_name(self, pipeline: Pipeline) -> SafeString:
        """Its name, and the first line of what it says of itself."""
        said = formats.first_line(pipeline.description)
        return format_html(
            '<span class="tq-name">{}</span><span class="tq-said-of" title="{}">{}</span>',
            html.breakable(pipeline.name),
            said,
            said,
        )

    @admin.display(description="State")
    def shown_accepting(self, pipeline: Any) -> SafeString:
        """The switch; under it who paused the pipeline, and why."""
        return format_html(
            '{}<span class="tq-under">{}</span>',
            switch_of(pipeline, may_pause=pipeline.may_pause, back="list"),
            pause_of(pipeline),
        )

    @admin.display(description="Limits")
    def shown_limits(self, pipeline: Any) -> SafeString:
        """How many run, of how many; what is left of the throttle if it has one."""
        return format_html("{}{}", places_of(pipeline, pipeline.figures.load.held), throttle_of(pipeline))

    @admin.display(description="In queue")
    def shown_queued(self, pipeline: Any) -> SafeString:
        """How many wait for a worker."""
        number = pipeline.figures.load.queued
        address = tasks_of(pipeline.name, status="queued")
        return format_html('<a class="{}" href="{}">{}</a>', "" if number else "tq-quiet", address, capped(number))

    @admin.display(description="Last 24 hours")
    def shown_day(self, pipeline: Any) -> SafeString:
        """When how many ended, what share succeeded, and how many in all."""
        found = pipeline.figures
        address = tasks_of(pipeline.name, ended=found.slice)
        if not found.day.total.ended:
            return format_html('<a class="tq-under tq-alone" href="{}">{}</a>', address, found.words)
        return format_html(
            '{}<span class="tq-share{}">{}</span><a class="tq-under" href="{}">{}</a>',
            found.bars,
            " tq-is-bad" if found.tone else "",
            found.share,
            address,
            found.words,
        )

    @admin.display(description="p50 / p95")
    def shown_lengths(self, pipeline: Any) -> str:
        """How long those that ended took."""
        return str(pipeline.figures.lengths)

    @admin.display(description="Actions")
    def shown_deeds(self, pipeline: Any) -> SafeString | str:
        """The way to the form that submits a task."""
        if pipeline.is_closed:
            return ""
        address = reverse("admin:taskqueue_pipeline_submit", args=[quote(pipeline.pk)])
        return format_html(
            '<a class="tq-button" href="{}" aria-label="Submit a task of {}">Submit</a>', address, pipeline
        )


def switch_of(pipeline: Pipeline, *, may_pause: bool, back: str = "") -> SafeString:
    """Whether its tasks start, as a switch: it sends the form around it to where the pipeline is paused or resumed."""
    runs = pipeline.paused_at is None
    verb = "pause" if runs else "resume"
    address = reverse(f"admin:taskqueue_pipeline_{verb}", args=[quote(pipeline.pk)]) + (f"?back={back}" if back else "")
    return format_html(
        '<button type="submit" role="switch" aria-checked="{}" class="tq-switch" formaction="{}" formmethod="post"'
        ' aria-label="{} is running" title="{}"{}><span>{}</span></button>',
        "true" if runs else "false",
        address,
        pipeline.name,
        "" if may_pause else "You may not pause pipelines.",
        "" if may_pause else SafeString(" disabled"),
        "Running" if runs else "Paused",
    )


def pause_of(pipeline: Pipeline) -> str:
    """Who has paused it, and why; empty when nobody has."""
    if pipeline.paused_at is None:
        return ""
    return f"paused by {pipeline.paused_by or 'somebody'}: {pipeline.pause_reason}"


def places_of(pipeline: Pipeline, held: int) -> SafeString:
    """Places held of places there are."""
    concurrency_limit = concurrency_limit_of(pipeline)
    most = None if concurrency_limit is None else concurrency_limit.tasks or concurrency_limit.declared_tasks
    by_key = (
        None
        if concurrency_limit is None
        else concurrency_limit.tasks_per_key or concurrency_limit.declared_tasks_per_key
    )
    each = (
        format_html('<span class="tq-under">{} per {}</span>', by_key, concurrency_limit.key)
        if concurrency_limit and by_key
        else ""
    )
    if most is None:
        return format_html('<span class="tq-quiet">{} running, unlimited</span>{}', capped(held), each)
    return format_html(
        '<span class="tq-meter{}"><progress max="{}" value="{}" aria-label="Places taken"></progress>'
        " {} of {}</span>{}",
        " tq-is-full" if held >= most else "",
        most,
        min(held, most),
        capped(held),
        f"{most:,}",
        each,
    )


def throttle_of(pipeline: Any) -> SafeString | str:
    """What is left of the rate of its starts; nothing when they have none."""
    concurrency_limit = concurrency_limit_of(pipeline)
    if concurrency_limit is None or concurrency_limit.rate is None:
        return ""
    if concurrency_limit.rate_is_keyed:
        address = address_of_uses(concurrency_limit.rate_id or "")
        return format_html(
            '<a class="tq-under tq-alone" href="{}">throttle per {}</a>', address, concurrency_limit.rate.key
        )
    return format_html(
        '<div class="tq-throttle">{}</div>', budget_of(concurrency_limit.rate, pipeline.use, pipeline.seen_at).shown
    )


def concurrency_limit_of(pipeline: Pipeline) -> ConcurrencyLimit | None:
    """The limits of a pipeline; one whose code is gone may have none."""
    concurrency_limit: Any = getattr(pipeline, "concurrency_limit", None)
    return concurrency_limit if isinstance(concurrency_limit, ConcurrencyLimit) else None


def tasks_of(name: str, **filters: str) -> str:
    """The address of its tasks."""
    return reverse("admin:taskqueue_task_changelist") + "?" + urlencode({"pipeline": name, **filters})


def address_of_uses(rate: str) -> str:
    """The address of a rate's use, key by key."""
    return reverse("admin:taskqueue_ratelimitbucket_changelist") + "?" + urlencode({"q": rate})
