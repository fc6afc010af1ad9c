"""A database that has fallen silent: its connections are open, and nothing ever arrives in them.

A stopped or frozen server looks to the kernel like a busy one, so that no timeout of TCP or of the server helps. A web
process tells it from a slow statement by asking on another connection: while that is answered, it waits on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, Final

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper

PATIENCE = 2.0
"""Seconds without a word after which it is asked whether the database is there, and again while the statement lasts."""
PROBE_SECONDS: Final = 2
"""How long that question may take; the least that libpq allows for connecting."""
SAID: Final = "the database has fallen silent: neither this connection nor a new one is answered"


class Attentive(psycopg.Connection[Any]):
    """A connection that is given up when the database falls silent."""

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Wait for the answer to what has been asked, as long as there is somebody to give it."""
        return super().wait(heard(gen, PATIENCE, self._give_up_in_silence), *args, **kwargs)

    def _give_up_in_silence(self) -> None:
        if witness.finds_silence(self):
            self.close()
            raise psycopg.OperationalError(SAID)


class Impatient(psycopg.Connection[Any]):
    """A connection on which each answer has to come soon."""

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Wait for the answer for so long and no longer."""
        return super().wait(heard(gen, PROBE_SECONDS, self._give_up), *args, **kwargs)

    def _give_up(self) -> None:
        self.close()
        raise psycopg.errors.ConnectionTimeout(SAID)


def heard(steps: Generator[Any, Any, Any], patience: float, at_silence: Callable[[], None]) -> Generator[Any, Any, Any]:
    """The steps of one exchange as psycopg waits for them, and a call each time when nothing has come for so long."""
    heard_at = time.monotonic()
    try:
        awaited = next(steps)
        while True:
            ready = yield awaited
            now = time.monotonic()
            if ready:
                heard_at = now
            elif now - heard_at >= patience:
                at_silence()
                heard_at = time.monotonic()
            awaited = steps.send(ready)
    except StopIteration as end:
        return end.value


class Witness:
    """Asks the database whether it is there: one thread at a time, for all that wait for it just then."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._asked_at = 0.0
        self._silent = False

    def finds_silence(self, connection: psycopg.Connection[Any]) -> bool:
        """Whether a new connection like this one is not answered. Any answer counts, a refusal too."""
        with self._guard:
            if time.monotonic() - self._asked_at > PATIENCE:
                self._silent = not answers(connection)
                self._asked_at = time.monotonic()
            return self._silent


def answers(connection: psycopg.Connection[Any]) -> bool:
    """Whether the database answers on a new connection."""
    info = connection.info
    try:
        # A pooler lets everybody in by itself; only the answer to a question shows that there is a server behind it.
        with closing(Impatient.connect(info.dsn, password=info.password, connect_timeout=PROBE_SECONDS)) as other:
            other.execute("SELECT 1")
    except psycopg.errors.ConnectionTimeout:
        return False
    except psycopg.Error:
        return True
    return True


witness = Witness()
"""That of this process."""


def notice_silence(connection: BaseDatabaseWrapper, **_signal: Any) -> None:
    """Have a new connection of Django's given up when the database falls silent."""
    if type(connection.connection) is psycopg.Connection:
        # Django offers no place for a class of ours. This one adds nothing to the object.
        connection.connection.__class__ = Attentive
