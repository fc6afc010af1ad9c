"""A migrated template database that refuses illegal moves, kept between runs; each test process copies it."""

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
"""The advisory lock under which one process creates the template."""

PARAMETERS = inspect.signature(BaseDatabaseCreation.create_test_db).parameters
UNSERIALIZED = {"serialize": False} if PARAMETERS["serialize"].default is True else {}
"""Newer Djangos do not serialize by default, and warn of the argument."""


def use_template() -> None:
    """Let Django copy its test database from the template, which the first process creates."""
    name = PREFIX + fingerprint()
    with connection._nodb_cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        cursor.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [PREFIX])
        existing = {datname for (datname,) in cursor.fetchall()}
        if name not in existing:
            create(name)
            for old in existing:
                drop(cursor, old)
        cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
    connection.settings_dict["TEST"] |= {"TEMPLATE": name, "MIGRATE": False}


def fingerprint() -> str:
    """A hash of all migrations, of Django's version, and of the allowed moves."""
    found = hashlib.sha256(f"{django.get_version()} {WATCH_MOVES}".encode())
    for app in sorted(apps.get_app_configs(), key=lambda app: app.label):
        for path in sorted(Path(app.path, "migrations").glob("*.py")):
            found.update(path.read_bytes())
    return found.hexdigest()[:16]


def create(name: str) -> None:
    """Migrate a database under a temporary name, and rename it when it is complete."""
    test, own = connection.settings_dict["TEST"], connection.settings_dict["NAME"]
    test_name = test["NAME"]
    unfinished = f"{PREFIX}unfinished"
    test["NAME"] = unfinished
    try:
        with without_sync():
            connection.creation.create_test_db(verbosity=0, autoclobber=True, **UNSERIALIZED)
        with connection.cursor() as cursor:
            cursor.execute(WATCH_MOVES)
    finally:
        connection.close()
        test["NAME"] = test_name
        connection.settings_dict["NAME"] = settings.DATABASES[connection.alias]["NAME"] = own
    with connection._nodb_cursor() as cursor:
        cursor.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(*map(sql.Identifier, (unfinished, name))))


@contextmanager
def without_sync() -> Iterator[None]:
    """Sync no pipelines into the template: each test process syncs its own copy."""
    config = apps.get_app_config("taskqueue")
    post_migrate.disconnect(sync_after_migrate, sender=config)
    try:
        yield
    finally:
        post_migrate.connect(sync_after_migrate, sender=config)


def drop(cursor: CursorWrapper, name: str) -> None:
    """Drop an outdated template, unless another checkout copies it now."""
    with suppress(OperationalError):
        cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
