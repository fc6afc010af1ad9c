"""Addresses of lists and of rows' pages, and links to them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats


def list_url(model: str, /, **filters: str) -> str:
    """The list of a model's rows, with filters as its parameters."""
    address = reverse(f"admin:taskqueue_{model}_changelist")
    return f"{address}?{urlencode(filters, safe=':.,@')}" if filters else address


def app_url(path: str) -> str:
    """The address of a path below that of the app in the admin, such as `worker/`."""
    return reverse("admin:app_list", args=["taskqueue"]) + path


def page_url(model: str, key: Any) -> str:
    return view_url(model, "change", key)


def view_url(model: str, view: str, key: Any) -> str:
    """A view of one row, such as `view_url("task", "retry", task.pk)`."""
    return reverse(f"admin:taskqueue_{model}_{view}", args=[quote(key)])


def link(address: str, text: object) -> SafeString:
    return format_html('<a href="{}">{}</a>', address, text)


def task_link(task_id: Any) -> SafeString:
    """A link to a task's page; its text is the end of the id."""
    return link(page_url("task", task_id), format_html('<span class="tq-id">{}</span>', formats.short_id(task_id)))
