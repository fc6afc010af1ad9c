"""Migrations add: code that does not know them yet works on beside code that does, as during any deploy."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader

pytestmark = pytest.mark.django_db(transaction=True)
"""Django refuses to tell the SQL of an index that is built beside its writers while a transaction is open."""

FIRST = "0004_rollups"
"""What was before it has never been deployed."""

HARSH = re.compile(
    r"DROP COLUMN|DROP TABLE|RENAME|SET NOT NULL|DROP DEFAULT|ALTER COLUMN \S+ TYPE|ADD COLUMN (?!.*DEFAULT).*NOT NULL"
)
"""SQL that takes something away, or asks something of whoever inserts without knowing."""


def later_migrations() -> list[str]:
    names = sorted(name for app, name in MigrationLoader(None).disk_migrations if app == "taskqueue")
    return names[names.index(FIRST) :]


def statements_of(name: str) -> list[str]:
    loader = MigrationLoader(connection, replace_migrations=False)
    loader.build_graph()
    plan = [(loader.graph.nodes["taskqueue", name], False)]
    return [line for line in loader.collect_sql(plan) if not line.startswith("--")]


@pytest.mark.parametrize("name", later_migrations())
def test_a_migration_takes_nothing_away_from_code_that_does_not_know_it(name):
    statements = statements_of(name)

    assert statements
    assert [line for line in statements if HARSH.search(line)] == []


@pytest.mark.parametrize(
    "line",
    [
        'ALTER TABLE "taskqueue_task" DROP COLUMN "lane" CASCADE;',
        'ALTER TABLE "taskqueue_task" ADD COLUMN "lane" integer NOT NULL;',
        'ALTER TABLE "taskqueue_task" ALTER COLUMN "lane" DROP DEFAULT;',
        'ALTER TABLE "taskqueue_task" ALTER COLUMN "lane" SET NOT NULL;',
        'ALTER TABLE "taskqueue_task" ALTER COLUMN "lane" TYPE bigint USING "lane"::bigint;',
        'ALTER TABLE "taskqueue_task" RENAME COLUMN "lane" TO "road";',
    ],
)
def test_what_would_is_recognised(line):
    assert HARSH.search(line)


def test_what_does_not_is_let_pass():
    assert not HARSH.search('ALTER TABLE "taskqueue_task" ADD COLUMN "lane" integer DEFAULT 0 NOT NULL;')
    assert not HARSH.search('ALTER TABLE "taskqueue_task" ADD COLUMN "lane" integer NULL;')
