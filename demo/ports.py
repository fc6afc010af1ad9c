"""The port on which `make run` answers: kept beside its database, so that other commands print the right links."""

from __future__ import annotations

from pathlib import Path

from django.db import connection

from taskqueue.embedded.base import data_directory_of

USUAL = "8000"


def port_file() -> Path | None:
    """Where it is kept; nowhere for a database that is not this machine's own."""
    known = connection.settings_dict
    return data_directory_of(known).root / "port" if "EMBEDDED" in known else None


def port_in_use() -> str:
    """What `make run` wrote down last, or the usual one."""
    file = port_file()
    try:
        return (file.read_text().strip() if file is not None else "") or USUAL
    except OSError:
        return USUAL
