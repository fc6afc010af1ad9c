"""What a claim tells the database of this process's code."""

from __future__ import annotations

import pytest
from django.db import connection

from taskqueue.definitions import registry
from taskqueue.engine.runtime.deployed_pipelines import array, deployed_pipelines
from tests.support.pipelines.basic import one_step


def test_it_is_made_once_and_anew_when_the_code_defines_something_else(monkeypatch):
    before = deployed_pipelines()
    assert deployed_pipelines() is before

    monkeypatch.setitem(registry._pipelines, "engine/another", one_step.definition)
    assert deployed_pipelines() != before

    monkeypatch.undo()
    assert deployed_pipelines() == before


@pytest.mark.django_db
@pytest.mark.parametrize("texts", [[], [""], ["a/b", 'with "quotes"', "back\\slash", "comma, {brace}", "NULL", "ü"]])
def test_an_array_is_read_as_it_was_written(texts):
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::text[]", [array(texts)])
        assert cursor.fetchone()[0] == texts
