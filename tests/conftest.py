"""Fixtures and hooks of all tests: cheap databases, a fast flush, and the order of test files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.core.management.sql import emit_post_migrate_signal
from django.db import connection, transaction
from django.db.backends.postgresql.operations import DatabaseOperations
from django.test import override_settings
from hypothesis import HealthCheck, settings
from pytest_django import DjangoDbBlocker
from xdist.scheduler import LoadFileScheduling

from tests.support.database.template import use_template

# These tests must not depend on the speed and the load of the machine.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("any machine"))
settings.load_profile("any machine")

KEPT = {"django_content_type", "auth_permission"}
"""Rows that come from the models, and that no test changes."""
UNCHECKED = "SET LOCAL session_replication_role = replica"
"""Ignore foreign keys, so that the order of statements does not matter."""
COPIED = """
SELECT string_agg(quote_ident(column_name), ', ') FROM information_schema.columns
WHERE table_schema = 'public' AND table_name = %s AND is_generated = 'NEVER'
"""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run browser tests first, and spread files that wait for processes among files that compute.

    Otherwise all parallel test processes would compute at first, and wait at the end.
    """
    first = {item.path for item in items if item.get_closest_marker("browser")}
    waiting = {item.path for item in items if item.get_closest_marker("process")} - first
    computing = {item.path for item in items} - first - waiting
    positions = {
        path: number / len(group) for group in (waiting, computing) for number, path in enumerate(sorted(group))
    }
    items.sort(key=lambda item: positions.get(item.path, -1))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """Distribute files, and run all browser tests in one process: three browsers would overload the machine."""
    return OneBrowser(config, log) if config.getoption("dist") == "loadfile" else None


class OneBrowser(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Keeps the tests of a file together, and all tests of `tests/browser`."""

    def _split_scope(self, nodeid: str) -> str:
        folder = "tests/browser/"
        return folder if nodeid.startswith(folder) else super()._split_scope(nodeid)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None,
    django_db_blocker: DjangoDbBlocker,
) -> None:
    """Copy the tests' database from a template instead of running all migrations in each process."""
    with django_db_blocker.unblock():
        use_template()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Let commits in the tests' database not wait for the disk. Tests that crash a server have servers of their own."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        name = connection.ops.quote_name(connection.settings_dict["NAME"])
        cursor.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
        connection.close()  # the setting counts from the next connection on


@pytest.fixture(scope="module")
def module_transaction(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A transaction around a module's tests, in which a fixture can fill tables once. Each test is a savepoint."""
    with django_db_blocker.unblock(), transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.fixture(autouse=True, scope="session")
def _quick_passwords() -> Iterator[None]:
    """The production hasher takes a third of a second per password."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


@pytest.fixture(autouse=True, scope="session")
def _quick_flush() -> Iterator[None]:
    """Delete the few rows and copy the initial ones, instead of truncating and syncing all pipelines."""
    copy = Copy(emit_post_migrate_signal)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseOperations, "sql_flush", delete_statement)
        patch.setattr("django.core.management.commands.flush.emit_post_migrate_signal", copy.bring_back)
        yield


def delete_statement(operations: DatabaseOperations, _style: Any, tables: Sequence[str], **_options: Any) -> list[str]:
    """One statement that empties the tables."""
    each = [f"DELETE FROM {operations.quote_name(table)}" for table in sorted(set(tables) - KEPT)]
    return ["; ".join([UNCHECKED, *each])] if each else []


class Copy:
    """The rows that exist before any test: those of the test modules' pipelines.

    Args:
        make: creates the rows.
    """

    def __init__(self, make: Any) -> None:
        self._make = make
        self._inserts: list[str] = []

    def bring_back(self, *arguments: Any, **options: Any) -> None:
        """Create the rows at the first call, and copy them from then on."""
        if not self._inserts:
            self._make(*arguments, **options)
            self._take()
            return
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("; ".join([UNCHECKED, *self._inserts]))

    def _take(self) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA IF EXISTS tests_copy CASCADE; CREATE SCHEMA tests_copy")
            for table in set(connection.introspection.django_table_names(only_existing=True)) - KEPT:
                cursor.execute(COPIED, [table])
                columns = cursor.fetchone()[0]
                cursor.execute(f"CREATE TABLE tests_copy.{table} AS SELECT {columns} FROM public.{table}")
                if cursor.rowcount:
                    self._inserts.append(
                        f"INSERT INTO public.{table} ({columns}) SELECT {columns} FROM tests_copy.{table}"
                    )
