"""docs/sql has every statement as PostgreSQL receives it, and PostgreSQL can plan each one."""

from __future__ import annotations

from collections import Counter

import pytest
from django.db import connection

from taskqueue.engine.sql.run import numbered
from tests.support.statements import REMEDY, Statement, existing_files, files, statements


def test_docs_sql_is_up_to_date():
    expected, existing = files(), existing_files()

    names = expected.keys() | existing.keys()
    different = sorted(name for name in names if expected.get(name) != existing.get(name))
    assert different == [], REMEDY


def test_every_statement_has_a_description():
    assert [each.name for each in statements() if not each.about] == []


def test_statement_names_are_unique():
    names = Counter(each.name.partition("/")[2] for each in statements())

    assert [name for name, number in names.items() if number > 1] == []


@pytest.mark.django_db
@pytest.mark.parametrize("statement", statements(), ids=lambda each: each.name)
def test_postgresql_can_plan_every_statement(statement: Statement):
    types = ", ".join(statement.parameters.values())
    values = ", ".join("NULL" for _ in statement.parameters)
    with connection.cursor() as cursor:
        cursor.execute(f"PREPARE whole{f' ({types})' if types else ''} AS {statement.numbered()}")
        cursor.execute(f"EXPLAIN EXECUTE whole{f' ({values})' if values else ''}")

        assert cursor.fetchall()

        cursor.execute("DEALLOCATE whole")


def test_parameters_are_numbered_in_the_order_of_their_first_use():
    assert numbered("SELECT %(b)s, %(a)s, %(b)s, 3 %% 2") == (b"SELECT $1, $2, $1, 3 % 2", ("b", "a"))
