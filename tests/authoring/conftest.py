"""What every test of the authoring surface starts from."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from taskqueue.engine.maintenance import dispatch
from tests.support.registries import own_registry


@pytest.fixture(autouse=True)
def _own_registry() -> Iterator[None]:
    """Tests define pipelines as they need them; each one's are forgotten after it."""
    with own_registry():
        yield


@pytest.fixture(autouse=True)
def _settled_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' database may have started a second ago; their workers need no time to take their locks again."""
    monkeypatch.setattr(dispatch, "SETTLING", timedelta(0))


@pytest.fixture
def calls() -> list[object]:
    """What the steps of a test write down, in the order in which they are really called."""
    return []
