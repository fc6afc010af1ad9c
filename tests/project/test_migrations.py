"""Migrations are compatible with the previous code, which still runs during a deploy."""

from __future__ import annotations

import re

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader

pytestmark = pytest.mark.django_db(transaction=True)
"""Django refuses to print the SQL of a concurrent index inside a transaction."""

FIRST = "0001_initial"
"""It makes the tables; what comes after it changes tables that are in use."""

HARSH = re.compile(
    r"DROP COLUMN|DROP TABLE|RENAME|SET NOT NULL|DROP DEFAULT|ALTER COLUMN \S+ TYPE|ADD COLUMN (?!.*DEFAULT).*NOT NULL"
)
"""SQL that removes something, or that makes inserts of older code fail."""


def later_migrations() -> list[str]:
    names = sorted(name for app, name in MigrationLoader(None).disk_migrations if app == "taskqueue")
    return names[names.index(FIRST) + 1 :]


def statements_of(name: str) -> list[str]:
    loader = MigrationLoader(connection, replace_migrations=False)
    loader.build_graph()
    plan = [(loader.graph.nodes["taskqueue", name], False)]
    return [line for line in loader.collect_sql(plan) if not line.startswith("--")]


def test_migrations_are_compatible_with_older_code():
    harsh = {name: [line for line in statements_of(name) if HARSH.search(line)] for name in later_migrations()}

    assert {name: lines for name, lines in harsh.items() if lines} == {}


def test_the_models_and_the_migrations_agree(capsys):
    call_command("makemigrations", "taskqueue", check=True, dry_run=True)

    assert "No changes detected" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        'ALTER TABLE "taskqueue_task" DROP COLUMN "ready_queue" CASCADE;',
        'ALTER TABLE "taskqueue_task" ADD COLUMN "ready_queue" integer NOT NULL;',
        'ALTER TABLE "taskqueue_task" ALTER COLUMN "ready_queue" DROP DEFAULT;',
        'ALTER TABLE "taskqueue_task" ALTER COLUMN "ready_queue" SET NOT NULL;',
        'ALTER TABLE "taskqueue_task" ALTER COLUMN "ready_queue" TYPE bigint USING "ready_queue"::bigint;',
        'ALTER TABLE "taskqueue_task" RENAME COLUMN "ready_queue" TO "road";',
    ],
)
def test_an_incompatible_migration_is_recognised(line):
    assert HARSH.search(line)


def test_a_compatible_migration_is_accepted():
    assert not HARSH.search('ALTER TABLE "taskqueue_task" ADD COLUMN "ready_queue" integer DEFAULT 0 NOT NULL;')
    assert not HARSH.search('ALTER TABLE "taskqueue_task" ADD COLUMN "ready_queue" integer NULL;')
