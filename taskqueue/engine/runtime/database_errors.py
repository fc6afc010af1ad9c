"""Database errors: which ones another attempt would meet again, and each as one line with its SQLSTATE."""

from __future__ import annotations

from typing import Final

import psycopg
from django.db import Error, InterfaceError, OperationalError

CONNECTION_ERRORS: Final = (OperationalError, InterfaceError)
"""What a statement raises when the database is away, silent or too slow."""
REFUSAL_CLASSES: Final = ("0A", "22", "23", "42", "44", "54", "P0")
"""Classes of SQLSTATE with which a healthy server refuses a statement for its content, and would do so again. Other
errors, and errors without a SQLSTATE, come from the server's state or from the connection."""


def is_refusal(error: BaseException) -> bool:
    """Whether the server refused a statement for its content, so that it has certainly written nothing."""
    return isinstance(error, Error | psycopg.Error) and sqlstate_of(error)[:2] in REFUSAL_CLASSES


def sqlstate_of(error: BaseException) -> str:
    """The SQLSTATE; empty when the server did not answer at all."""
    found = getattr(error.__cause__, "sqlstate", None) or getattr(error, "sqlstate", None)
    return found if isinstance(found, str) else ""


def error_name(error: BaseException) -> str:
    """The name of the error's class; psycopg's own where there is one: DiskFull rather than OperationalError."""
    return type(error.__cause__ if sqlstate_of(error) and isinstance(error, Error) else error).__name__


def error_message(error: BaseException) -> str:
    """The message on one line; the driver's messages have several."""
    return " ".join(str(error).split())


def error_line(error: BaseException) -> str:
    message = error_message(error) or type(error).__name__
    state = sqlstate_of(error)
    return f"{state}: {message}" if state else message
