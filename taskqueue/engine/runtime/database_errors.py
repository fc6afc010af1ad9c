"""Troubles of the database: told apart from what it refuses for good, and put into one line with its SQLSTATE."""

from __future__ import annotations

from typing import Final

from django.db import Error, InterfaceError, OperationalError

AWAY: Final = (OperationalError, InterfaceError)
"""What a statement raises when the database is away, silent or too slow."""
REFUSALS: Final = ("0A", "22", "23", "42", "44", "54", "P0")
"""Classes of SQLSTATE by which a server that is well says no to what it was given: the same again will be refused
again. All others, and errors without one, are the server's own or the way's to it."""


def is_refusal(error: BaseException) -> bool:
    """Whether a statement has failed for what it holds, and certainly has written nothing."""
    return isinstance(error, Error) and sqlstate_of(error)[:2] in REFUSALS


def sqlstate_of(error: BaseException) -> str:
    """Its SQLSTATE; empty when the server did not answer at all."""
    found = getattr(error.__cause__, "sqlstate", None) or getattr(error, "sqlstate", None)
    return found if isinstance(found, str) else ""


def kind_of(error: BaseException) -> str:
    """The name of its type, psycopg's own where there is one: DiskFull rather than OperationalError."""
    return type(error.__cause__ if sqlstate_of(error) and isinstance(error, Error) else error).__name__


def message_of(error: BaseException) -> str:
    """What it says, in one line; the driver's messages have several."""
    return " ".join(str(error).split())


def line_of(error: BaseException) -> str:
    """What it says, in one line, behind its SQLSTATE."""
    told = message_of(error) or type(error).__name__
    state = sqlstate_of(error)
    return f"{state}: {told}" if state else told
