"""Django's database backend; Django asks for a module of this name."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.postgresql import base, client
from psycopg import errors, sql

from taskqueue.embedded.data_directory import DataDirectory, default_data_directory
from taskqueue.embedded.programs import find_programs
from taskqueue.embedded.server import address_of, ensure_running, start


def data_directory_of(database: dict[str, Any]) -> DataDirectory:
    """Return the data directory of these settings: EMBEDDED["data_dir"], or else the one of the setting BASE_DIR."""
    if database.get("HOST"):
        raise ImproperlyConfigured(
            "The embedded PostgreSQL has no HOST. For a server of your own use django.db.backends.postgresql."
        )
    chosen = database.get("EMBEDDED", {})
    if unknown := set(chosen) - {"data_dir"}:
        raise ImproperlyConfigured(f'DATABASES[...]["EMBEDDED"] does not know {", ".join(sorted(unknown))}.')
    if data_dir := chosen.get("data_dir"):
        return DataDirectory(Path(data_dir).expanduser().absolute())
    if project := getattr(settings, "BASE_DIR", None):
        return default_data_directory(Path(project))
    raise ImproperlyConfigured(
        "The embedded PostgreSQL keeps one data directory per project. Set BASE_DIR to the project's path, or "
        'DATABASES["default"]["EMBEDDED"]["data_dir"] to the data directory itself.'
    )


class DatabaseClient(client.DatabaseClient):
    """`manage.py dbshell`, with the psql that comes with the server."""

    @classmethod
    def settings_to_cmd_args_env(
        cls, settings_dict: dict[str, Any], parameters: Any
    ) -> tuple[list[str], dict[str, str] | None]:
        directory = data_directory_of(settings_dict)
        ensure_running(directory)
        create_database(directory, settings_dict["NAME"])
        address = {name.upper(): value for name, value in address_of(directory).items()}
        arguments, environment = super().settings_to_cmd_args_env({**settings_dict, **address}, parameters)
        return [find_programs().path("psql"), *arguments[1:]], environment


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to the embedded PostgreSQL. The server is started, and the database created, when missing."""

    client_class = DatabaseClient

    def get_connection_params(self) -> dict[str, Any]:
        params = super().get_connection_params()
        directory = data_directory_of(self.settings_dict)
        ensure_running(directory)
        return {**params, **address_of(directory)}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        try:
            return super().get_new_connection(conn_params)
        except psycopg.OperationalError:
            # The database does not exist yet, or the server does not answer. A second failure is the true one.
            directory = data_directory_of(self.settings_dict)
            start(directory)
            create_database(directory, conn_params["dbname"])
            return super().get_new_connection(conn_params)


def create_database(directory: DataDirectory, name: str) -> None:
    with psycopg.connect(dbname="postgres", autocommit=True, **address_of(directory)) as connection:  # type: ignore[arg-type]  # not typed by key
        found = connection.execute("SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s", [name]).fetchone()
        if found is not None:
            return
        # Either error means that another process was faster.
        with suppress(errors.DuplicateDatabase, errors.UniqueViolation):
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
