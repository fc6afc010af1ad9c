"""A section with the tasks of an object, for the object's own page in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.db.models.functions import Now
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from taskqueue.admin.shared import html, task_details
from taskqueue.admin.shared.models import ModelAdmin, Row
from taskqueue.engine.enqueue.options import subject_of
from taskqueue.models import Task

SHOWN = 20
FIELD = "tasks_of_object"


class TasksOfObject(ModelAdmin[Row]):
    """Mix-in, placed before `ModelAdmin`: the page of each object gets a section with its tasks, newest first.

    The tasks of an object are those created with `pipeline.using(subject=the_object).enqueue(…)`. Users without the
    permission to view tasks do not see the section.
    """

    class Media:
        css = {"all": ["taskqueue/admin.css"]}

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        fields = super().get_readonly_fields(request, obj)
        may_view = obj is not None and request.user.has_perm("taskqueue.view_task")
        return (*fields, FIELD) if may_view else tuple(fields)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        sections = [(name, {**options, "fields": [field for field in options["fields"] if field != FIELD]})
                    for name, options in super().get_fieldsets(request, obj)]  # fmt: skip
        if FIELD in self.get_readonly_fields(request, obj):
            sections.append(("Tasks", {"fields": (FIELD,), "classes": ("tq-object-tasks",)}))
        return sections

    @admin.display(description="Tasks")
    def tasks_of_object(self, thing: Model) -> SafeString:
        """The table of its newest tasks; one query by an index."""
        tasks = Task.objects.filter(subject=subject_of(thing)).annotate(seen_at=Now()).order_by("-pk")
        found = list(tasks.defer("payload", "result")[: SHOWN + 1])
        rows = [
            {
                "task": task,
                "badge": html.badge(task.status),
                "duration": task_details.duration(task, task.seen_at),
                "created": html.moment(task.created_at, task.seen_at),
                "error": task_details.error_line(task.error),
            }
            for task in found[:SHOWN]
        ]
        return render_to_string("taskqueue/object_tasks.html", {"rows": rows, "has_more": len(found) > SHOWN})
