"""The pytest plugin: fixtures for tests of pipelines.

pytest loads it before Django is set up. So it imports nothing at the top that needs Django's settings, and no other
module imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from taskqueue.testing import InProcessWorker, Run
    from taskqueue.testing.fakes import Fake


@pytest.fixture
def taskqueue_worker(
    db: None,  # noqa: ARG001 - a test requests a fixture by naming it
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[InProcessWorker]:
    """A worker in the test's own process and transaction: `taskqueue_worker.work()` executes what is due."""
    from taskqueue.engine.maintenance import dispatch
    from taskqueue.testing import InProcessWorker

    # The tests' database may have started a second ago, but no worker has to take its lock again.
    monkeypatch.setattr(dispatch, "STARTUP_GRACE", timedelta(0))
    with InProcessWorker() as worker:
        yield worker


@pytest.fixture
def run_inline(db: None) -> Callable[..., Run[Any]]:  # noqa: ARG001 - the same
    """`taskqueue.testing.run_inline`: create a task and run it to its end."""
    from taskqueue.testing import run_inline

    return run_inline


@pytest.fixture
def advance(db: None) -> Callable[..., None]:  # noqa: ARG001 - the same
    """`taskqueue.testing.advance`: let time pass for every task."""
    from taskqueue.testing import advance

    return advance


@pytest.fixture
def fake_step() -> Iterator[Callable[..., Fake]]:
    """`taskqueue.testing.fake`, until the end of the test."""
    from taskqueue.testing import fake

    with ExitStack() as fakes:

        def begin(step: Any, **answer: Any) -> Fake:
            return fakes.enter_context(fake(step, **answer))

        yield begin
