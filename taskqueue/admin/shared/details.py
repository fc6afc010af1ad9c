"""The details at the head of a page, and who did what with its object."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.contrib.admin.models import LogEntry
from django.utils.safestring import SafeString

from taskqueue.admin.shared import html


@dataclass(frozen=True)
class Fact:
    """A name and what is true."""

    name: str
    value: SafeString | str | int
    is_wide: bool = False


@dataclass(frozen=True)
class AuditEntry:
    """An entry of an object's history: its user, what they did, and when."""

    who: str
    what: str
    moment: SafeString


def audit_entries_of(history: list[LogEntry], now: datetime) -> list[AuditEntry]:
    """The audit log in sentences."""
    return [
        AuditEntry(entry.user.get_username(), entry.get_change_message(), html.moment(entry.action_time, now))
        for entry in history
    ]
