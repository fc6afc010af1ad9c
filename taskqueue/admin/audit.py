"""The audit log: all log entries of the admin, read-only.

A project that has its own page for Django's log entries unregisters this one: `admin.site.unregister(LogEntry)`.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.http import HttpRequest
from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats, html
from taskqueue.admin.shared.links import link
from taskqueue.admin.shared.models import ReadOnlyAdmin

ACTION_NAMES = {ADDITION: "added", CHANGE: "changed", DELETION: "deleted"}


class AuditAdmin(ReadOnlyAdmin[LogEntry]):
    change_list_template = "admin/taskqueue/logentry/change_list.html"
    list_display = ("time", "user", "action", "content_type", "object_link", "message")
    list_display_links = None
    list_select_related = ("user", "content_type")
    ordering = ("-id",)
    time = html.moment_column("When", "action_time")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {"title": "Audit", **(extra_context or {})})

    @admin.display(description="Action")
    def action(self, entry: LogEntry) -> str:
        return ACTION_NAMES.get(entry.action_flag, formats.EMPTY_VALUE)

    @admin.display(description="Object")
    def object_link(self, entry: LogEntry) -> SafeString | str:
        address = None if entry.action_flag == DELETION else entry.get_admin_url()
        return entry.object_repr if address is None else link(address, entry.object_repr)

    @admin.display(description="What")
    def message(self, entry: LogEntry) -> str:
        return entry.get_change_message() or formats.EMPTY_VALUE


if not admin.site.is_registered(LogEntry):
    admin.site.register(LogEntry, AuditAdmin)
