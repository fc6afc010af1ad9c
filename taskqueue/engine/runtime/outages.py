"""An outage of the database as a web process logs it: a line when it begins, and one when it is over."""

from __future__ import annotations

import logging
from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from taskqueue.engine.runtime.database_errors import message_of

logger = logging.getLogger("taskqueue.engine")

OVER: Final = "The database answers again"
"""Logged as a warning, by workers too, so that a log that shows the beginning of an outage shows its end."""


class Outage:
    """Whether this process has lost the database, and has logged so."""

    def __init__(self) -> None:
        self._is_on = False

    def begin(self, error: BaseException) -> None:
        """Log a request's error, unless the outage is logged already or only a statement failed on a sound connection.

        Args:
            error: what the database or its driver raised.
        """
        session = connections[DEFAULT_DB_ALIAS].connection
        if self._is_on or not (session is None or session.closed):
            return
        self._is_on = True
        logger.error("The database does not answer: %s", message_of(error))

    def end(self, connection: BaseDatabaseWrapper, **_signal: Any) -> None:
        """Log that a new connection was made, if there was an outage."""
        if self._is_on and connection.alias == DEFAULT_DB_ALIAS:
            self._is_on = False
            logger.warning(OVER)


outage = Outage()
"""That of this process."""
