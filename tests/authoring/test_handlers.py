"""Handlers and completion events run once for each end of a task."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue import Retry, TaskEnded, pipeline, step, wait_for
from taskqueue.engine.catalog.sync import sync_pipeline
from taskqueue.engine.tasks import control
from taskqueue.errors import DefinitionError
from taskqueue.models import Event, Task
from taskqueue.testing import work
from tests.support.endings import finish, reload

pytestmark = pytest.mark.django_db


@step(retry=Retry.never())
def broken() -> None:
    raise ValueError("boom")


def test_a_failed_task_runs_its_handler_once(calls):
    @pipeline("handlers/fails")
    def fails(number: int) -> None:
        broken()

    @fails.on_failure
    def report(ended: TaskEnded) -> None:
        calls.append(ended)

    task = fails.using(labels={"a": "b"}).enqueue(3)
    work()
    work()

    (ended,) = calls
    assert (ended.task, ended.pipeline, ended.payload) == (task.pk, "handlers/fails", {"number": 3})
    assert ended.error == {"type": "ValueError", "message": "boom", "step": "broken"}
    handler = Task.objects.get(pipeline="handlers/fails.on-failure")
    assert (handler.status, handler.labels) == ("succeeded", {"a": "b"})


def test_a_retried_task_that_fails_again_runs_it_again(calls):
    @pipeline("handlers/again")
    def fails() -> None:
        broken()

    @fails.on_failure
    def report(ended: TaskEnded) -> None:
        calls.append(ended.task)

    task = finish(fails.enqueue())
    control.retry(task.pk)
    finish(task)
    work()
    assert len(calls) == 2


def test_a_cancelled_task_runs_its_own_handler(calls):
    @pipeline("handlers/cancelled")
    def waits() -> None:
        wait_for("never/comes", timeout=timedelta(days=1))

    @waits.on_cancel
    def report(ended: TaskEnded) -> None:
        calls.append(ended.reason)

    task = waits.enqueue()
    work()
    control.cancel(task.pk, reason="No longer wanted.")
    work()
    work()
    assert calls == ["No longer wanted."]


def test_a_handler_that_takes_something_else_is_refused():
    @pipeline("handlers/wrong")
    def wrong() -> None:
        pass

    with pytest.raises(DefinitionError, match="ended: TaskEnded"):

        @wrong.on_failure  # type: ignore[arg-type]
        def report(task: str) -> None:
            pass


def test_an_end_without_listeners_emits_no_event():
    @pipeline("handlers/quiet")
    def quiet() -> None:
        pass

    finish(quiet.enqueue())
    assert not Event.objects.exists()


def test_an_end_is_an_event_when_a_pipeline_starts_on_it(calls):
    @pipeline("handlers/makes")
    def makes(number: int) -> int:
        return number + 1

    @pipeline("handlers/follows", on="handlers/makes.completed")
    def follows(task: str, pipeline: str, payload: dict[str, int], result: int, labels: dict[str, str]) -> None:
        calls.append((task, payload, result))

    sync_pipeline(follows.definition)
    task = makes.enqueue(1)
    work()
    work()
    assert calls == [(str(task.pk), {"number": 1}, 2)]


def test_an_end_is_an_event_when_a_body_names_it():
    @pipeline("handlers/named")
    def named() -> None:
        broken()

    @pipeline("handlers/waits")
    def waits() -> str:
        data = wait_for("handlers/named.failed", timeout=timedelta(hours=1))
        return "" if data is None else data["error"]["type"]

    waiting = waits.enqueue()
    work()
    named.enqueue()
    work()
    work()
    assert reload(waiting).result == "ValueError"


def test_announce_emits_an_event_at_each_end():
    @pipeline("handlers/announces", announce=True)
    def announces() -> int:
        return 1

    task = finish(announces.enqueue())
    event = Event.objects.get()
    assert (event.name, event.data["result"], event.source_id) == ("handlers/announces.completed", 1, task.pk)
