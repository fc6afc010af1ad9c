"""The user, token or bulk operation that requests an action, and the record of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.apps import apps
from django.db.models import F, Func, Model, Value


@dataclass(frozen=True)
class Actor:
    """The user, token or bulk operation that requests an action.

    Attributes:
        user: the primary key of the user. None for a caller without an account, as in DEBUG: there is no audit entry.
        name: the user's name, for messages.
        token: the name of the token that authenticated the caller; empty for none.
        operation: the bulk operation, which has one audit entry for all its tasks; each task has its id.
    """

    user: Any
    name: str = ""
    token: str = ""
    operation: UUID | None = None

    def record(self, row: Model, message: str, *, added: bool = False) -> None:
        """Write an audit entry about a changed or added row: a `LogEntry`, as for changes made in the admin.

        A project without the admin keeps no audit log.
        """
        if self.operation is not None:
            operations = Func(F("bulk_operations"), Value(self.operation), function="array_append")
            type(row)._default_manager.filter(pk=row.pk).update(bulk_operations=operations)
        self._log(row, message, is_added=added)

    def record_deletion(self, row: Model, message: str) -> None:
        """Write an audit entry about a row that is deleted next."""
        self._log(row, message, is_deleted=True)

    def _log(self, row: Model, message: str, *, is_added: bool = False, is_deleted: bool = False) -> None:
        if self.user is None or not apps.is_installed("django.contrib.admin"):
            return
        from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry  # not importable without the admin

        by = f" By token {self.token}." if self.token else ""
        flag = DELETION if is_deleted else ADDITION if is_added else CHANGE
        LogEntry.objects.log_actions(self.user, [row], flag, f"{message}{by}", single_object=True)


SYSTEM: Final = Actor(None)
"""The engine itself: events and sweeps write no audit entry per task."""
