"""Links from a task's page: to its pipeline, its worker, the object that it is about, and tasks with its labels."""

from __future__ import annotations

from dataclasses import dataclass

from django.apps import apps
from django.contrib.admin import AdminSite
from django.contrib.admin.utils import quote
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from taskqueue.admin.shared.links import link, list_url, page_url
from taskqueue.models import Task


@dataclass(frozen=True)
class TaskLinks:
    """A link where the user may view its target, else the name alone."""

    site: AdminSite
    request: HttpRequest

    def row(self, model: str, key: int | str, text: str) -> SafeString | str:
        return link(page_url(model, key), text) if self.request.user.has_perm(f"taskqueue.view_{model}") else text

    def subject(self, task: Task) -> SafeString | str:
        """The object that the task is about; a link if this site has an admin for its model."""
        label, _, key = task.subject.partition(":")
        try:
            model = apps.get_model(label)
        except (LookupError, ValueError):  # the model was renamed or removed since
            return task.subject
        if not self.site.is_registered(model) or not self.site.get_model_admin(model).has_view_permission(self.request):
            return task.subject
        view = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
        return link(reverse(view, args=[quote(key)], current_app=self.site.name), task.subject)

    def labels(self, task: Task) -> SafeString:
        labels = sorted(task.labels.items())
        rows = ((list_url("task", label=f"{name}={value}"), name, value) for name, value in labels)
        return format_html_join(" ", '<a class="tq-label" href="{}">{}: {}</a>', rows)
