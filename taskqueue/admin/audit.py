"""The audit: who did what in this admin, to read.

A project that shows Django's log entries in its own way unregisters this one: `admin.site.unregister(LogEntry)`.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats, html
from taskqueue.admin.shared.models import ReadOnlyAdmin

DEEDS = {ADDITION: "added", CHANGE: "changed", DELETION: "deleted"}


class AuditAdmin(ReadOnlyAdmin[LogEntry]):
    """Log entries, newest first."""

    change_list_template = "admin/taskqueue/logentry/change_list.html"
    list_display = ("shown_time", "user", "shown_deed", "content_type", "shown_object", "shown_message")
    list_display_links = None
    list_select_related = ("user", "content_type")
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[LogEntry]:
        """Entries with the database's present moment."""
        return LogEntry.objects.annotate(seen_at=Now())

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Under the name that the navigation has for it."""
        return super().changelist_view(request, {"title": "Audit", **(extra_context or {})})

    @admin.display(description="When")
    def shown_time(self, entry: Any) -> SafeString:
        """When it was done."""
        return html.moment(entry.action_time, entry.seen_at)

    @admin.display(description="Action")
    def shown_deed(self, entry: LogEntry) -> str:
        """What kind of deed it was."""
        return DEEDS.get(entry.action_flag, formats.NOTHING)

    @admin.display(description="Object")
    def shown_object(self, entry: LogEntry) -> SafeString | str:
        """The way to what it was done to."""
        address = None if entry.action_flag == DELETION else entry.get_admin_url()
        if address is None:
            return entry.object_repr
        return format_html('<a href="{}">{}</a>', address, entry.object_repr)

    @admin.display(description="What")
    def shown_message(self, entry: LogEntry) -> str:
        """What exactly."""
        return entry.get_change_message() or formats.NOTHING


if not admin.site.is_registered(LogEntry):
    admin.site.register(LogEntry, AuditAdmin)
