"""on_failure, on_cancel and the events of a task's end: each exactly once, whoever dies on the way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from taskqueue import Retry, StepFailed, TaskEnded, pipeline, step
from taskqueue.definitions import announces, registry
from taskqueue.engine import control, echoes, statements
from taskqueue.engine.execution import perform
from taskqueue.engine.outcomes import Failed
from taskqueue.engine.settlement import writing
from taskqueue.errors import DefinitionError
from taskqueue.models import Event, Skip, Task
from taskqueue.policies import On
from taskqueue.testing import InProcessWorker, work
from tests.authoring.endings import finish, reload
from tests.engine.leases import take

pytestmark = pytest.mark.django_db


@step(retry=Retry.never())
def fail(reason: str) -> str:
    if reason:
        raise ValueError(reason)
    return "fine"


@pipeline("handlers/fragile", retry=Retry.never())
def fragile(reason: str) -> str:
    return fail(reason)


@fragile.on_failure
def tidy_up(failure: TaskEnded) -> str:
    assert failure.error is not None
    return f"{failure.pipeline} {failure.task} {failure.payload} {failure.error['message']} {failure.labels}"


@fragile.on_cancel
def take_back(failure: TaskEnded) -> str:
    return f"{failure.status}: {failure.reason}"


def test_a_failed_task_starts_its_handler_once():
    task = finish(fragile.using(labels={"tenant": "a"}, priority=7).enqueue("no luck"))
    work()

    (handler,) = Task.objects.filter(pipeline="handlers/fragile.on-failure")
    assert handler.result == f"handlers/fragile {task.pk} {{'reason': 'no luck'}} no luck {{'tenant': 'a'}}"
    assert (handler.labels, handler.priority, handler.parent_id) == ({"tenant": "a"}, 7, None)
    assert echoes.tell(task.pk) == 0
    assert Task.objects.filter(pipeline="handlers/fragile.on-failure").count() == 1
    assert not Task.objects.filter(pipeline="handlers/fragile.on-cancel").exists()


def test_a_cancelled_task_starts_its_handler_and_a_succeeded_one_none():
    task = fragile.enqueue("x")
    control.cancel(task.pk, reason="changed my mind")
    finish(fragile.enqueue(""))
    work()

    (handler,) = Task.objects.exclude(pipeline="handlers/fragile")
    assert (handler.pipeline_id, handler.result) == ("handlers/fragile.on-cancel", "cancelled: changed my mind")


def test_a_retried_task_that_fails_again_starts_its_handler_again():
    task = finish(fragile.enqueue("x"))
    control.retry(task.pk)
    finish(task)

    assert Task.objects.filter(pipeline="handlers/fragile.on-failure").count() == 2


def test_a_handler_may_take_a_dict():
    @pipeline("handlers/plain", retry=Retry.never())
    def plain() -> None:
        raise ValueError("oh")

    @plain.on_failure  # type: ignore[arg-type]  # typed callers take a TaskEnded
    def handler(failure: dict[str, Any]) -> str:
        return str(failure["error"]["type"])

    finish(plain.enqueue())
    work()

    assert Task.objects.get(pipeline="handlers/plain.on-failure").result == "ValueError"


def test_a_handler_that_takes_something_else_is_refused_where_it_is_written():
    @pipeline("handlers/bad")
    def bad() -> None: ...

    with pytest.raises(DefinitionError, match="TaskEnded"):

        @bad.on_failure  # type: ignore[arg-type]  # that is the point
        def handler(failure: int) -> None: ...

    with pytest.raises(DefinitionError, match="TaskEnded"):

        @bad.on_cancel  # type: ignore[arg-type]  # that is the point
        def other(failure: TaskEnded, more: int) -> None: ...


def test_a_payload_that_is_too_large_for_the_handler_is_left_out(settings):
    task = fragile.enqueue("x" * 300)
    settings.TASKQUEUE = {"PAYLOAD_MAX_BYTES": 600}
    finish(task)
    work()

    (handler,) = Task.objects.filter(pipeline="handlers/fragile.on-failure")
    assert handler.payload["payload"] is None
    assert not Skip.objects.exists()


def test_a_crash_between_the_end_and_its_echo_is_made_good_by_a_chore():
    task = fragile.enqueue("x")
    with InProcessWorker() as worker:
        lease = take(worker.row.pk)
        outcome = perform(lease, activity=worker.activity, stopping=lambda: False)
        assert isinstance(outcome, Failed)
        statement, values = writing(outcome)
        statements.fetch(statements.alone(statement), {**values, **lease.fence})  # and the process dies here
    assert reload(task).echo_at is not None

    work()

    assert Task.objects.get(pipeline="handlers/fragile.on-failure").status == "succeeded"
    assert reload(task).echo_at is None


def test_a_process_that_does_not_know_the_handler_leaves_the_end_to_one_that_does(monkeypatch):
    task = fragile.enqueue("x")
    work()
    Task.objects.filter(pk=task.pk).update(echo=True)
    Task.objects.exclude(pk=task.pk).delete()
    known = dict(registry._pipelines)

    monkeypatch.setattr(registry, "_pipelines", {"handlers/other": known["handlers/fragile.on-cancel"]})
    assert echoes.tell_pending() == 0
    assert reload(task).echo_at is not None
    monkeypatch.setattr(registry, "_pipelines", known)
    assert echoes.tell_pending() == 1


def test_ends_are_announced_when_asked_for():
    @pipeline("handlers/loud", retry=Retry.never(), announce=True)
    def loud(reason: str) -> str:
        return fail(reason)

    good = finish(loud.using(labels={"a": "b"}).enqueue(""))
    bad = finish(loud.enqueue("x"))
    gone = loud.enqueue("y")
    control.cancel(gone.pk, reason="enough")
    work()

    events = {event.name: event for event in Event.objects.all()}
    assert set(events) == {"handlers/loud.completed", "handlers/loud.failed", "handlers/loud.cancelled"}
    assert events["handlers/loud.completed"].data == {
        "task": str(good.pk),
        "pipeline": "handlers/loud",
        "payload": {"reason": ""},
        "labels": {"a": "b"},
        "result": "fine",
    }
    assert events["handlers/loud.failed"].data["error"]["message"] == "x"
    assert events["handlers/loud.failed"].source_id == bad.pk
    assert events["handlers/loud.cancelled"].data["error"] == {"type": "Cancelled", "message": "enough"}


def test_ends_are_announced_when_code_listens_for_them():
    @pipeline("handlers/quiet")
    def quiet() -> int:
        return 1

    @pipeline("handlers/heard")
    def heard() -> int:
        return 1

    definition = quiet.definition
    assert not announces(definition)

    @pipeline("handlers/listener", on=On("handlers/quiet.completed"))
    def listener(data: dict[str, Any]) -> None: ...

    @pipeline("handlers/waiter")
    def waiter() -> list[str]:
        return ["handlers/heard.failed"]

    assert announces(definition)
    assert announces(heard.definition)
    finish(quiet.enqueue())
    assert [event.name for event in Event.objects.all()] == ["handlers/quiet.completed"]


def test_compensation_in_plain_code_undoes_what_was_done():
    undone = []

    @step
    def undo(what: str) -> str:
        undone.append(what)
        return what

    @pipeline("handlers/saga")
    def saga() -> str:
        try:
            return fail("no stock")
        except StepFailed as failure:
            undo(failure.step)
            raise

    task = finish(saga.enqueue())

    assert (task.status, task.error["message"], undone) == ("failed", "no stock", ["fail"])


def test_telling_of_an_end_that_has_not_come_does_nothing():
    task = fragile.enqueue("x")

    assert echoes.tell(task.pk) == 0
    assert not Task.objects.exclude(pk=task.pk).exists()


def test_work_goes_on_with_what_an_echo_has_made_ready():
    fragile.enqueue("x")
    with InProcessWorker() as worker:
        assert len(worker.work(budget=timedelta(seconds=5))) == 2
