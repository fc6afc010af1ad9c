"""Pipelines in the admin: what the deployed code defines, to read."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin import formats, markup
from taskqueue.admin.pauses import Pauses
from taskqueue.admin.readonly import ReadOnlyAdmin, ReadOnlyInline
from taskqueue.engine import retention
from taskqueue.models import Pipeline, PipelineStep, Pruning


class StepInline(ReadOnlyInline[PipelineStep, Pipeline]):
    """The steps that a pipeline is known to call."""

    model = PipelineStep
    verbose_name_plural = "steps, in the order in which the body names them"
    fields = readonly_fields = ("shown_name", "shown_retry", "shown_timeout", "shown_atomicity")
    ordering = ("position", "pk")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may see the pipeline: its steps are a part of it."""
        return request.user.has_perm("taskqueue.view_pipeline")

    @admin.display(description="Step")
    def shown_name(self, step: PipelineStep) -> str:
        """Its name."""
        return step.name

    @admin.display(description="Retries")
    def shown_retry(self, step: PipelineStep) -> str:
        """Its waits in words."""
        return formats.waits(step.retry)

    @admin.display(description="Timeout")
    def shown_timeout(self, step: PipelineStep) -> str:
        """How long one try may take."""
        return "none" if step.timeout is None else formats.wait_length(step.timeout.total_seconds())

    @admin.display(description="Atomic")
    def shown_atomicity(self, step: PipelineStep) -> str:
        """Whether its ORM writes and its checkpoint commit together."""
        return "yes" if step.atomic else "no"


@admin.register(Pipeline)
class PipelineAdmin(Pauses, ReadOnlyAdmin[Pipeline]):
    """Pipelines by name."""

    list_display = ("name", "shown_state", "shown_description", "shown_step_count", "shown_tasks")
    change_form_template = "admin/taskqueue/pipeline/change_form.html"
    ordering = ("name",)
    search_fields = ("name__startswith",)
    search_help_text = "Finds names that begin with what you type."
    inlines = (StepInline,)
    fieldsets = (
        (None, {"fields": ("shown_state", "description", "shown_tasks", "shown_retry", "shown_history")}),
        ("Example and dates", {"fields": ("shown_example", "shown_times")}),
        ("Payload schema", {"fields": ("shown_payload_schema",), "classes": ("collapse",)}),
        ("Result schema", {"fields": ("shown_result_schema",), "classes": ("collapse",)}),
    )
    readonly_fields = (
        "shown_state", "description", "shown_tasks", "shown_retry", "shown_history", "shown_example", "shown_times",
        "shown_payload_schema", "shown_result_schema",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Pipeline]:
        """Pipelines with the number of their known steps."""
        return Pipeline.objects.annotate(step_count=Count("known_steps"))

    @admin.display(description="State")
    def shown_state(self, pipeline: Pipeline) -> str:
        """Whether its tasks start, and if not, who has paused it and why."""
        if pipeline.paused_at is None:
            return "active"
        return (
            f"paused by {pipeline.paused_by or 'somebody'} {formats.exact(pipeline.paused_at)}: {pipeline.pause_reason}"
        )

    @admin.display(description="Description")
    def shown_description(self, pipeline: Pipeline) -> str:
        """The first line of it."""
        return formats.first_line(pipeline.description)

    @admin.display(description="Known steps")
    def shown_step_count(self, pipeline: Any) -> int:
        """How many steps its body names."""
        count: int = pipeline.step_count
        return count

    @admin.display(description="Tasks")
    def shown_tasks(self, pipeline: Pipeline) -> SafeString:
        """The way to its tasks."""
        address = reverse("admin:taskqueue_task_changelist") + "?" + urlencode({"pipeline": pipeline.name})
        return format_html('<a href="{}">See its tasks</a>', address)

    @admin.display(description="Retries of the body")
    def shown_retry(self, pipeline: Pipeline) -> str:
        """The body's waits in words."""
        return formats.waits(pipeline.retry)

    @admin.display(description="History")
    def shown_history(self, pipeline: Pipeline) -> str:
        """How long ended tasks are kept, and how many have gone."""
        keep = retention.kept_for(pipeline.keep, for_ever=pipeline.keep_for_ever)
        pruning = Pruning.objects.filter(pk=pipeline.pk).first() or Pruning()
        return formats.history(keep, pruning.total, pruning.pruned_at)

    @admin.display(description="Example payload")
    def shown_example(self, pipeline: Pipeline) -> SafeString:
        """A payload to try."""
        return markup.preformatted(pipeline.payload_example)

    @admin.display(description="Seen in the code")
    def shown_times(self, pipeline: Pipeline) -> str:
        """Since when it is known, and when the code last told of it."""
        return f"first {formats.exact(pipeline.registered_at)}, last {formats.exact(pipeline.updated_at)}"

    @admin.display(description="Payload schema")
    def shown_payload_schema(self, pipeline: Pipeline) -> SafeString:
        """What a payload must look like."""
        return markup.preformatted(pipeline.payload_schema)

    @admin.display(description="Result schema")
    def shown_result_schema(self, pipeline: Pipeline) -> SafeString:
        """What a result looks like."""
        return markup.preformatted(pipeline.result_schema)
