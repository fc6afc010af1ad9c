"""The user or token that requests an action, and its audit entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.apps import apps
from django.db.models import Model


@dataclass(frozen=True)
class Actor:
    """The user or token that requests an action.

    Attributes:
        user: the primary key of the user. None for a caller without an account, as in DEBUG: there is no audit entry.
        name: the user's name, for messages.
        token: the name of the token that authenticated the caller; empty for none.
    """

    user: Any
    name: str = ""
    token: str = ""

    def record(self, row: Model, message: str, *, added: bool = False) -> None:
        """Write an audit entry about a changed or added row: a `LogEntry`, as for changes made in the admin.

        A project without the admin keeps no audit log.
        """
        if self.user is None or not apps.is_installed("django.contrib.admin"):
            return
        from django.contrib.admin.models import ADDITION, CHANGE, LogEntry  # not importable without the admin

        by = f" By token {self.token}." if self.token else ""
        LogEntry.objects.log_actions(
            self.user, [row], ADDITION if added else CHANGE, f"{message}{by}", single_object=True
        )


SYSTEM: Final = Actor(None)
"""The engine itself: bulk operations, events and sweeps write no audit entry per task."""
