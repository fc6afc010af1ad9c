"""Links from a task's page: to its pipeline, its worker, the object that it is about, and tasks with its labels."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from django.apps import apps
from django.contrib.admin import AdminSite
from django.contrib.admin.utils import quote
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from taskqueue.models import Task, Worker


@dataclass(frozen=True)
class TaskLinks:
    """A link where the user may view its target, else the name alone.

    Attributes:
        site: the admin site that shows the page.
        request: of the user.
    """

    site: AdminSite
    request: HttpRequest

    def pipeline(self, task: Task) -> SafeString:
        return self._link("pipeline", task.pipeline_id, str(task.pipeline_id))

    def worker(self, worker: Worker) -> SafeString:
        """The worker process that has the task, or had it last."""
        return self._link("worker", worker.pk, str(worker))

    def subject(self, task: Task) -> SafeString:
        """The object that the task is about; a link if this site has an admin for its model."""
        label, _, key = task.subject.partition(":")
        try:
            model = apps.get_model(label)
        except (LookupError, ValueError):  # the model was renamed or removed since
            return format_html("{}", task.subject)
        if not self.site.is_registered(model) or not self.site.get_model_admin(model).has_view_permission(self.request):
            return format_html("{}", task.subject)
        address = reverse(
            f"admin:{model._meta.app_label}_{model._meta.model_name}_change",
            args=[quote(key)],
            current_app=self.site.name,
        )
        return format_html('<a href="{}">{}</a>', address, task.subject)

    def labels(self, task: Task) -> SafeString:
        tasks = reverse("admin:taskqueue_task_changelist")
        rows = (
            (f"{tasks}?{urlencode({'label': f'{name}={value}'})}", name, value)
            for name, value in sorted(task.labels.items())
        )
        return format_html_join(" ", '<a class="tq-label" href="{}">{}: {}</a>', rows)

    def _link(self, model: str, key: int | str, text: str) -> SafeString:
        if not self.request.user.has_perm(f"taskqueue.view_{model}"):
            return format_html("{}", text)
        address = reverse(f"admin:taskqueue_{model}_change", args=[quote(key)])
        return format_html('<a href="{}">{}</a>', address, text)
