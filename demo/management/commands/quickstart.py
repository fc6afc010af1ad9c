"""`manage.py quickstart`: all that `make run` does once the packages are installed."""

from __future__ import annotations

import errno
import socket
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection, connections
from django.db.migrations.loader import MigrationLoader

from demo.ports import port_file
from demo.supervision import supervise
from taskqueue.embedded.base import data_directory_of

ADMIN = "admin"
OWN_LOGIN = "sign in as a user of DATABASE_URL's database (manage.py createsuperuser makes one)"
"""On a database server that may be shared, no user with a known password is created."""


class Command(BaseCommand):
    """Migrate, create a demo login, and run web and workers until Ctrl-C."""

    help = "Migrates, creates the login admin/admin, and runs web and workers on this machine until Ctrl-C."
    requires_system_checks: list[str] = []  # `migrate` runs them

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", default="8000", help="port of the web server on 127.0.0.1 (8000)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare the database, then supervise until a signal comes. The exit code is 0 after Ctrl-C."""
        if not settings.DEBUG:
            raise CommandError(
                "quickstart is for your own machine: it creates a login with a known password, and needs DEBUG=true. "
                "docs/settings.md and docker-compose.yml show how to start a service."
            )
        port = parse_port(options["port"])
        require_free(port)
        self.stdout.write("Preparing the database ...")
        try:
            refuse_unknown_migrations()
            call_command("migrate", interactive=False, verbosity=0)
            login = ensure_login() if not settings.DATABASE_URL else OWN_LOGIN
            write_port(port)
            connections.close_all()
        except KeyboardInterrupt:
            sys.exit(130)
        except OperationalError as error:
            raise CommandError(f"The database does not answer: {error}") from None
        sys.exit(supervise(port=port, login=login))


def refuse_unknown_migrations() -> None:
    """Refuse a database that another version of taskqueue has migrated, whose tables this code may not fit.

    Raises:
        CommandError: with the way to an empty database.
    """
    loader = MigrationLoader(connection)
    if not any(app == "taskqueue" for app, _ in set(loader.applied_migrations) - set(loader.disk_migrations)):
        return
    database = connection.settings_dict
    empty = (
        f"delete {data_directory_of(database).root}, or set TASKQUEUE_DATA_DIR to another directory"
        if "EMBEDDED" in database
        else "create another database, and set DATABASE_URL to it"
    )
    raise CommandError(
        f"Another version of taskqueue made this database. Run that version, or start with an empty one: {empty}."
    )


def write_port(port: int) -> None:
    if (file := port_file()) is not None:
        file.write_text(str(port))


def parse_port(text: str) -> int:
    """Return the port as a number.

    Raises:
        CommandError: it is not a port.
    """
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 65535:
        return int(text)
    raise CommandError(f"PORT must be a number from 1 to 65535, not {text!r}. For example: make run PORT=8010")


def require_free(port: int) -> None:
    """Check that this port is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            reason = "in use" if error.errno == errno.EADDRINUSE else "not open to this user"
            other = 8010 if port != 8010 else 8020
            raise CommandError(f"Port {port} is {reason}. Try another one: make run PORT={other}") from None


def ensure_login() -> str:
    """Create the demo login if it is missing. Returns how to sign in."""
    users = get_user_model()._default_manager
    user = users.filter(username=ADMIN).first()
    if user is None:
        users.create_superuser(username=ADMIN, email="", password=ADMIN)
    elif not user.check_password(ADMIN):
        return f"sign in as {ADMIN} with your own password"
    return f"sign in as {ADMIN}, password {ADMIN}"
