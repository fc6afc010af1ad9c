"""The port of `make run`. It is stored next to the database, so that other commands print the right links."""

from __future__ import annotations

from pathlib import Path

from django.db import connection

from taskqueue.embedded.base import data_directory_of

DEFAULT_PORT = "8000"


def port_file() -> Path | None:
    """Return the file with the port; None for a database that is not embedded."""
    database = connection.settings_dict
    return data_directory_of(database).root / "port" if "EMBEDDED" in database else None


def port_in_use() -> str:
    """Return the port that `make run` stored last, or the default."""
    file = port_file()
    try:
        return (file.read_text().strip() if file is not None else "") or DEFAULT_PORT
    except OSError:
        return DEFAULT_PORT
