"""The details at the head of a page, and the activity list at its end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.utils.safestring import SafeString

from taskqueue.admin.shared import html


@dataclass(frozen=True)
class Detail:
    """A name and its value; a wide one spans several columns."""

    name: str
    value: SafeString | str | int
    is_wide: bool = False


@dataclass(frozen=True)
class AuditEntry:
    """An audit entry as a page shows it: the user's name, what the user did, and when."""

    user: str
    message: str
    time: SafeString


def log_entries_of(model: type[Model], key: object, *, limit: int) -> list[LogEntry]:
    content_type = ContentType.objects.get_for_model(model)
    entries = LogEntry.objects.filter(content_type=content_type, object_id=str(key)).select_related("user")
    return list(entries.order_by("-action_time", "-pk")[:limit])


def audit_entries_of(entries: list[LogEntry], now: datetime) -> list[AuditEntry]:
    return [
        AuditEntry(entry.user.get_username(), entry.get_change_message(), html.moment(entry.action_time, now))
        for entry in entries
    ]
