"""The parameters of a claim about this process's code."""

from __future__ import annotations

import pytest
from django.db import connection

from taskqueue.definitions import registry
from taskqueue.engine.runtime.deployed_pipelines import deployed_pipelines, to_array
from tests.support.pipelines.basic import one_step


def test_parameters_are_rebuilt_only_when_definitions_change(monkeypatch):
    before = deployed_pipelines()
    assert deployed_pipelines() is before

    monkeypatch.setitem(registry._pipelines, "engine/another", one_step.definition)
    assert deployed_pipelines() != before

    monkeypatch.undo()
    assert deployed_pipelines() == before


@pytest.mark.django_db
@pytest.mark.parametrize("texts", [[], [""], ["a/b", 'with "quotes"', "back\\slash", "comma, {brace}", "NULL", "ü"]])
def test_arrays_round_trip_through_postgresql(texts):
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::text[]", [to_array(texts)])
        assert cursor.fetchone()[0] == texts
