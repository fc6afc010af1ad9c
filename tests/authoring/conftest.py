"""Fixtures of the authoring tests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from taskqueue.engine.maintenance import dispatch
from tests.support.registries import own_registry


@pytest.fixture(autouse=True)
def _own_registry() -> Iterator[None]:
    """Remove the pipelines that a test defines."""
    with own_registry():
        yield


@pytest.fixture(autouse=True)
def _settled_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the startup grace: the tests' database may have started a second ago."""
    monkeypatch.setattr(dispatch, "STARTUP_GRACE", timedelta(0))


@pytest.fixture
def calls() -> list[object]:
    """The steps that a test has really called, in order."""
    return []
