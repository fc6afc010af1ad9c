"""The backend itself; Django asks for this module's name."""

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.postgresql import base, client
from psycopg import errors, sql

from taskqueue.embedded.binaries import find_binaries
from taskqueue.embedded.cluster import SUPERUSER
from taskqueue.embedded.location import Layout, data_directory
from taskqueue.embedded.owner import find_owner
from taskqueue.embedded.server import PORT, Embedded, find_server

GRACE = timedelta(seconds=5)


def read_settings(database: dict[str, Any]) -> Embedded:
    """Read DATABASES[...]["EMBEDDED"].

    Its keys are `data_dir`, or else `project` (the path that the data directory is found by; by default the setting
    BASE_DIR), and `grace` (a timedelta: how long the server outlives its last user).
    """
    if database.get("HOST"):
        raise ImproperlyConfigured(
            "The embedded PostgreSQL has no HOST. For a server of your own use django.db.backends.postgresql."
        )
    chosen = database.get("EMBEDDED", {})
    if unknown := set(chosen) - {"data_dir", "project", "grace"}:
        raise ImproperlyConfigured(f'DATABASES[...]["EMBEDDED"] does not know {", ".join(sorted(unknown))}.')
    directory = Path(chosen.get("data_dir") or find_default_directory(chosen.get("project")))
    return Embedded(data_directory=directory.expanduser().absolute(), grace=chosen.get("grace", GRACE))


def find_default_directory(project: Path | str | None) -> Path:
    project = project or getattr(settings, "BASE_DIR", None)
    if project is None:
        raise ImproperlyConfigured(
            "The embedded PostgreSQL keeps one data directory per project. Set BASE_DIR to the project's path, or "
            'DATABASES["default"]["EMBEDDED"]["data_dir"] to the data directory itself.'
        )
    return data_directory(Path(project))


class DatabaseClient(client.DatabaseClient):
    """`manage.py dbshell`, with the psql that comes with the server."""

    @classmethod
    def settings_to_cmd_args_env(
        cls, settings_dict: dict[str, Any], parameters: Any
    ) -> tuple[list[str], dict[str, str] | None]:
        embedded = read_settings(settings_dict)
        address = find_address(embedded)
        create_database(settings_dict["NAME"], address=address)
        reached = {**settings_dict, "HOST": address["host"], "PORT": address["port"], "USER": address["user"]}
        arguments, environment = super().settings_to_cmd_args_env(reached, parameters)
        owner = find_owner(Layout(embedded.data_directory))
        return [find_binaries(owner).path("psql"), *arguments[1:]], environment


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to the embedded PostgreSQL, which is started when it does not run, with a database of this name."""

    client_class = DatabaseClient

    def get_connection_params(self) -> dict[str, Any]:
        params = super().get_connection_params()
        return {**params, **find_address(read_settings(self.settings_dict))}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        try:
            return super().get_new_connection(conn_params)
        except psycopg.OperationalError:
            # The database is not made yet, or the server died since we looked. A second failure is the true one.
            address = find_address(read_settings(self.settings_dict))
            create_database(conn_params["dbname"], address=address)
            return super().get_new_connection({**conn_params, **address})


def find_address(embedded: Embedded) -> dict[str, str]:
    """Where the running server listens, in libpq's words."""
    return {"host": find_server(embedded).socket_directory, "port": PORT, "user": SUPERUSER}


def create_database(name: str, *, address: dict[str, str]) -> None:
    """Create this database unless it exists."""
    with psycopg.connect(dbname="postgres", autocommit=True, **address) as connection:  # type: ignore[arg-type]  # not typed by key
        found = connection.execute("SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s", [name]).fetchone()
        if found is not None:
            return
        # Either error means that another process was faster.
        with suppress(errors.DuplicateDatabase, errors.UniqueViolation):
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
