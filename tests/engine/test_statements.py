"""docs/sql shows every statement as PostgreSQL receives it, and PostgreSQL can prepare and plan each one."""

from __future__ import annotations

from collections import Counter

import pytest
from django.db import connection

from tests.support.statements import REMEDY, Statement, files, statements, written


def test_the_folder_is_what_the_code_says():
    said, held = files(), written()

    different = sorted(name for name in said.keys() | held.keys() if said.get(name) != held.get(name))
    assert different == [], REMEDY


def test_every_statement_says_what_it_does():
    assert [each.name for each in statements() if not each.about] == []


def test_a_name_stands_for_one_statement():
    names = Counter(each.name.partition("/")[2] for each in statements())

    assert [name for name, number in names.items() if number > 1] == []


@pytest.mark.django_db
@pytest.mark.parametrize("statement", statements(), ids=lambda each: each.name)
def test_postgresql_can_plan_it(statement: Statement):
    types = ", ".join(statement.parameters.values())
    values = ", ".join("NULL" for _ in statement.parameters)
    with connection.cursor() as cursor:
        cursor.execute(f"PREPARE whole{f' ({types})' if types else ''} AS {statement.numbered()}")
        cursor.execute(f"EXPLAIN EXECUTE whole{f' ({values})' if values else ''}")

        assert cursor.fetchall()

        cursor.execute("DEALLOCATE whole")
