"""One migrated database that watches moves, kept from run to run; each process of tests takes a copy."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import django
from django.apps import apps
from django.conf import settings
from django.db import OperationalError, connection
from django.db.backends.base.creation import BaseDatabaseCreation
from django.db.backends.utils import CursorWrapper
from django.db.models.signals import post_migrate
from psycopg import sql

from taskqueue.engine.catalog.sync import sync_after_migrate
from tests.support.moves import WATCH_MOVES

PREFIX = "taskqueue_template_"
LOCK = 7_205_759
"""One process makes the template while the others wait."""

PARAMETERS = inspect.signature(BaseDatabaseCreation.create_test_db).parameters
UNSERIALIZED = {"serialize": False} if PARAMETERS["serialize"].default is True else {}
"""Later Djangos do not serialize by themselves, and warn of the argument."""


def use_template() -> None:
    """Let Django copy its test database from the template, which the first process makes."""
    name = PREFIX + fingerprint()
    with connection._nodb_cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        cursor.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [PREFIX])
        known = {datname for (datname,) in cursor.fetchall()}
        if name not in known:
            make(name)
            for old in known:
                drop(cursor, old)
        cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
    connection.settings_dict["TEST"] |= {"TEMPLATE": name, "MIGRATE": False}


def fingerprint() -> str:
    """Of all migrations, of the Django that runs them, and of the moves that are allowed."""
    found = hashlib.sha256(f"{django.get_version()} {WATCH_MOVES}".encode())
    for app in sorted(apps.get_app_configs(), key=lambda app: app.label):
        for path in sorted(Path(app.path, "migrations").glob("*.py")):
            found.update(path.read_bytes())
    return found.hexdigest()[:16]


def make(name: str) -> None:
    """Migrate a database under another name, and give it this one when it is whole."""
    test, own = connection.settings_dict["TEST"], connection.settings_dict["NAME"]
    asked = test["NAME"]
    unfinished = f"{PREFIX}unfinished"
    test["NAME"] = unfinished
    try:
        with no_pipelines_mirrored():
            connection.creation.create_test_db(verbosity=0, autoclobber=True, **UNSERIALIZED)
        with connection.cursor() as cursor:
            cursor.execute(WATCH_MOVES)
    finally:
        connection.close()
        test["NAME"] = asked
        connection.settings_dict["NAME"] = settings.DATABASES[connection.alias]["NAME"] = own
    with connection._nodb_cursor() as cursor:
        cursor.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(*map(sql.Identifier, (unfinished, name))))


@contextmanager
def no_pipelines_mirrored() -> Iterator[None]:
    """Each process of tests mirrors those that it knows in its own copy."""
    config = apps.get_app_config("taskqueue")
    post_migrate.disconnect(sync_after_migrate, sender=config)
    try:
        yield
    finally:
        post_migrate.connect(sync_after_migrate, sender=config)


def drop(cursor: CursorWrapper, name: str) -> None:
    """Drop a template of other migrations, unless another checkout copies from it at this moment."""
    with suppress(OperationalError):
        cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
