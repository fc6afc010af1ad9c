"""The columns of the task list: one row's facts as cells."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Case, CharField, OuterRef, QuerySet, Subquery, Value, When
from django.db.models.functions import JSONObject, Left, Now
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin import formats, markup
from taskqueue.engine import queries
from taskqueue.models import Attempt, Task
from taskqueue.states import ON_A_TIMER, TaskStatus

if TYPE_CHECKING:

    class ListedTask(Task):
        """A task with what the list's query adds to it."""

        steps_done: int
        steps_known: int
        tries: int
        seen_at: datetime
        last_failure: dict[str, Any] | None

        class Meta:
            abstract = True


def listed() -> QuerySet[Task]:
    """The engine's listing, with the database's present moment and what the last failed try of a retrying task said."""
    failures = Attempt.objects.filter(task=OuterRef("pk")).order_by("-pk")
    message = Left("error_message", formats.LINE_LENGTH, output_field=CharField())
    last = Subquery(failures.values(said=JSONObject(type="error_type", message=message))[:1])
    return queries.listing().annotate(
        seen_at=Now(), last_failure=Case(When(status=TaskStatus.RETRYING, then=last), default=Value(None))
    )


class TaskColumns:
    """Methods for `list_display`."""

    @admin.display(description="Status")
    def shown_status(self, task: ListedTask) -> SafeString:
        """The badge; under it when a task on a timer goes on."""
        if task.status not in ON_A_TIMER:
            return markup.badge(task.status)
        return format_html(
            '{}<span class="tq-under">{}</span>', markup.badge(task.status), markup.moment(task.due_at, task.seen_at)
        )

    @admin.display(description="Task")
    def shown_task(self, task: ListedTask) -> SafeString:
        """Pipeline, key and the end of the id; under them what went wrong."""
        return format_html(
            '<span class="tq-name">{}</span> {}<span class="tq-id" title="{}">{}</span>{}',
            task.pipeline_id,
            format_html('<span class="tq-key">{}</span> ', task.key) if task.key else "",
            task.pk,
            formats.id_tail(task.pk),
            shown_error(task.error or task.last_failure),
        )

    @admin.display(description="Steps")
    def shown_steps(self, task: ListedTask) -> str:
        """Steps done of those known."""
        return steps_share(task.steps_done, task.steps_known)

    @admin.display(description="Failed tries")
    def shown_tries(self, task: ListedTask) -> SafeString:
        """How many tries failed."""
        if not task.tries:
            return format_html('<span class="tq-quiet">{}</span>', 0)
        return format_html('<span class="tq-tries">{}</span>', task.tries)

    @admin.display(description="Waited")
    def shown_wait(self, task: ListedTask) -> str:
        """From its making to its first start."""
        return waited(task, task.seen_at)

    @admin.display(description="Took")
    def shown_length(self, task: ListedTask) -> str:
        """From its first start to its end."""
        return took(task, task.seen_at)

    @admin.display(description="Created")
    def shown_creation(self, task: ListedTask) -> SafeString:
        """When it was made."""
        return markup.moment(task.created_at, task.seen_at)


def shown_error(error: dict[str, Any] | None) -> SafeString | str:
    """An error on a line of its own; nothing when there is none."""
    if not error:
        return ""
    return format_html(
        '<span class="tq-error"><b>{}</b> {}</span>',
        error.get("type", ""),
        formats.first_line(error.get("message", "")),
    )


def steps_share(done: int, known: int) -> str:
    """Steps done of those known, such as `3/5`; a task may call more than are known."""
    return f"{done}/{max(known, done)}"


def waited(task: Task, now: datetime) -> str:
    """How long a task waited for its first start; one that is not due yet, or ended without a start, did not wait."""
    if task.started_at is None and task.status != TaskStatus.QUEUED:
        return formats.NOTHING
    return formats.duration(formats.between(task.created_at, task.started_at or now))


def took(task: Task, now: datetime) -> str:
    """How long a task took from its first start to its end, waits between tries included; so far, if it goes on."""
    return formats.duration(formats.between(task.started_at, task.finished_at or now))
