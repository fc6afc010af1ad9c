"""A database outage in the log of a web process: one line when it begins, and one when it is over."""

from __future__ import annotations

import logging
from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from taskqueue.engine.runtime.database_errors import error_message

logger = logging.getLogger("taskqueue.engine")

RECOVERED: Final = "The database answers again"
"""Logged as a warning, as the worker's notifier does, so that a log which shows an outage's begin shows its end."""


class WebOutageLog:
    """Logs each outage once, although every request fails."""

    def __init__(self) -> None:
        self._is_down = False

    def begin(self, error: BaseException) -> None:
        """Log a request's error, unless the outage is logged already, or the connection still works.

        Args:
            error: what the database or its driver raised.
        """
        session = connections[DEFAULT_DB_ALIAS].connection
        if self._is_down or not (session is None or session.closed):
            return
        self._is_down = True
        logger.error("The database does not answer: %s", error_message(error))

    def end(self, connection: BaseDatabaseWrapper, **_signal: Any) -> None:
        if self._is_down and connection.alias == DEFAULT_DB_ALIAS:
            self._is_down = False
            logger.warning(RECOVERED)


outage_log = WebOutageLog()
"""This process's."""
