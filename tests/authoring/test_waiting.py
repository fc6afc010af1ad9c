"""Waits: an event is found whenever it comes, used once and typed, and a wait times out."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import BaseModel

from taskqueue import On, StepFailed, aemit, emit, event_of, pipeline, step, wait_any, wait_for
from taskqueue.engine.catalog.sync import sync_pipeline
from taskqueue.engine.events.send import send
from taskqueue.engine.tasks import control
from taskqueue.errors import InvalidContext, InvalidEvent, NotSerializable
from taskqueue.models import Event, Skip, Step, Task, Wait
from taskqueue.policies import CancelOn
from taskqueue.testing import advance, work
from tests.support.endings import finish, outputs_of, reload

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


class Approval(BaseModel):
    order: int
    by: str


@pytest.fixture
def approved():
    @pipeline("wait/approved")
    def approved(order: int) -> str:
        approval = wait_for("order/approved", match={"order": order}, timeout=DAY, model=Approval)
        return "no approval" if approval is None else approval.by

    return approved


def test_an_event_that_fits_ends_the_wait_and_others_do_not(approved):
    task = approved.enqueue(7)
    work()
    assert (reload(task).status, reload(task).waits.get().outcome) == ("waiting", "")

    send("order/approved", {"order": 8, "by": "bea"})
    send("order/declined", {"order": 7, "by": "bea"})
    work()
    assert reload(task).status == "waiting"
    event = send("order/approved", {"order": 7, "by": "ada"})
    work()

    assert reload(task).result == "ada"
    assert (reload(task).waits.get().outcome, reload(task).waits.get().resolved_by) == ("event", event)


def test_an_event_after_the_tasks_creation_ends_a_later_wait(approved):
    send("order/approved", {"order": 7, "by": "too early"})
    advance(minutes=1)
    task = approved.enqueue(7)
    advance(minutes=1)
    send("order/approved", {"order": 7, "by": "ada"})
    work()
    work()

    assert reload(task).result == "ada"


def test_a_wait_times_out_with_none(approved):
    task = approved.enqueue(7)
    work()
    advance(days=1)
    send("order/approved", {"order": 7, "by": "too late"})
    work()

    assert reload(task).result == "no approval"
    assert reload(task).waits.get().outcome == "timeout"


def test_two_waits_of_one_name_take_two_events_in_their_order():
    @pipeline("wait/twice")
    def twice() -> list[int]:
        found = [wait_for("tick", timeout=DAY), wait_for("tick", timeout=DAY)]
        return [each["n"] for each in found if each is not None]

    task = twice.enqueue()
    advance(minutes=1)
    for number in range(3):
        send("tick", {"n": number})

    assert finish(task).result == [0, 1]
    assert list(outputs_of(task)) == ["tick", "tick#2"]


def test_the_first_of_several_wins_and_the_others_are_closed():
    @pipeline("wait/any")
    def first() -> list[object]:
        came = wait_any(event_of("yes", model=Approval), event_of("no", match={"order": 1}), timeout=DAY, name="answer")
        if came is None:
            return []
        return [came.index, came.name, came.value.by if isinstance(came.value, Approval) else came.value]

    task = first.enqueue()
    work()
    send("no", {"order": 1})
    work()

    assert reload(task).result == [1, "no", {"order": 1}]
    assert list(Wait.objects.order_by("position").values_list("outcome", flat=True)) == ["closed", "event"]
    send("yes", {"order": 1, "by": "late"})
    work()
    assert reload(task).result == [1, "no", {"order": 1}]


def test_data_that_does_not_fit_the_model_fails_the_task_with_the_events_id(approved):
    task = approved.enqueue(7)
    work()
    event = send("order/approved", {"order": 7})
    work()

    task = reload(task)
    assert (task.status, task.error["type"]) == ("failed", "InvalidEventData")
    assert str(event.pk) in task.error["message"]
    assert "/by" in task.error["message"]
    control.retry(task.pk, from_step="order/approved")
    work()
    work()
    # It is the first that came since the task was made: a body that shall pass it over catches the error.
    assert (reload(task).status, reload(task).waits.get().resolved_by) == ("failed", event)


@pytest.mark.usefixtures("lane")
@pytest.mark.django_db(transaction=True)
def test_an_async_body_waits_and_emits():
    @pipeline("wait/async")
    async def waits() -> object:
        await aemit("asked", {"n": 1})
        return wait_for("answered", timeout=DAY)

    task = waits.enqueue()
    work()
    assert Event.objects.get(name="asked").source_id == task.pk
    send("answered", {"n": 2})
    work()

    assert reload(task).result == {"n": 2}


def test_an_emitted_event_is_sent_once_however_often_the_body_runs(calls):
    @step
    def flaky() -> None:
        calls.append("flaky")
        if len(calls) < 3:
            raise ConnectionError

    @pipeline("wait/emits")
    def emits() -> None:
        emit("started", {"n": 1})
        flaky()
        emit("started", {"n": 2})

    task = finish(emits.enqueue())

    assert task.status == "succeeded"
    assert list(Event.objects.order_by("id").values_list("name", "data")) == [
        ("started", {"n": 1}),
        ("started", {"n": 2}),
    ]
    assert list(outputs_of(task)) == ["emit started", "flaky", "emit started#2"]


def test_an_event_of_an_atomic_step_is_rolled_back_with_it(calls):
    @step.atomic
    def writes() -> None:
        emit("written", {"try": len(calls)})
        calls.append("tried")
        if len(calls) == 1:
            raise ConnectionError

    @pipeline("wait/atomic")
    def atomically() -> None:
        writes()

    finish(atomically.enqueue())

    assert list(Event.objects.values_list("data", flat=True)) == [{"try": 1}]


def test_an_event_starts_its_matching_pipelines():
    @pipeline("wait/started", on=[On("order/paid", match={"country": "de"})])
    def started(order: int) -> int:
        return order

    @pipeline("wait/started-too", on="order/paid")
    def started_too(approval: Approval) -> str:
        return approval.by

    sync_pipeline(started.definition)
    sync_pipeline(started_too.definition)
    event = send("order/paid", {"order": 7, "country": "de", "by": "ada"})
    send("order/paid", {"order": 8, "country": "fr"})
    send("wait/started.requested", {"order": 9})
    work()

    results = Task.objects.order_by("id").values_list("pipeline", "result")
    assert set(results) == {("wait/started", 7), ("wait/started-too", "ada"), ("wait/started", 9)}
    assert set(event.started.values_list("pipeline", flat=True)) == {"wait/started", "wait/started-too"}
    skip = Skip.objects.get()
    assert (skip.kind, skip.pipeline_id) == ("invalid", "wait/started-too")
    assert "/by" in skip.reason


def test_an_event_cancels_the_task_that_it_names_and_no_other():
    @pipeline("wait/cancelled", cancel_on=CancelOn("order/cancelled", match={"order": "{order}"}))
    def cancelled(order: int) -> object:
        return wait_for("never", timeout=DAY)

    doomed, kept = cancelled.enqueue(7), cancelled.enqueue(8)
    work()
    send("order/cancelled", {"order": 7})
    work()

    assert [reload(doomed).status, reload(kept).status] == ["cancelled", "waiting"]
    assert "order/cancelled" in reload(doomed).cancel_reason


def test_a_wait_in_a_step_or_outside_of_tasks_is_refused_with_a_remedy():
    with pytest.raises(InvalidContext, match="run_inline"):
        wait_for("x", timeout=DAY)

    @step
    def waits() -> None:
        wait_for("x", timeout=DAY)

    @pipeline("wait/in-step")
    def in_step() -> None:
        waits()

    task = in_step.enqueue()
    work()
    assert "in the pipeline's body" in reload(task).error["message"]


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [("", {}, "1 to 200"), ("a b", {}, "no spaces"), ("a", [1], "JSON object"), ("a", {"x": float("nan")}, "nan")],
)
def test_an_invalid_event_is_refused(name, data, sentence):
    with pytest.raises((InvalidEvent, NotSerializable), match=sentence):
        send(name, data)

    assert Event.objects.count() == 0


def test_an_event_id_is_unique_within_a_day():
    first = send("a", {"n": 1}, external_id="e-1")
    again = send("a", {"n": 1}, external_id="e-1")
    assert (again.pk, again.duplicate, again.data) == (first.pk, True, {"n": 1})

    advance(hours=25)
    later = send("a", {"n": 3}, external_id="e-1")
    assert (later.duplicate, later.pk == first.pk) == (False, False)
    assert Event.objects.filter(external_id="e-1").count() == 2


def test_an_event_for_a_pipeline_of_other_code_is_left_to_it():
    @pipeline("wait/elsewhere")
    def elsewhere(order: int) -> int:
        return order

    from taskqueue.definitions import registry

    sync_pipeline(elsewhere.definition)
    del registry._pipelines["wait/elsewhere"]
    send("wait/elsewhere.requested", {"order": 1, "more": True})
    work()
    assert not Task.objects.exists()

    registry.add(elsewhere.definition)
    work()

    task = Task.objects.get()
    assert (task.result, task.payload) == (1, {"order": 1})


def test_a_failing_step_after_a_wait_does_not_wait_again(calls):
    @step
    def fails() -> None:
        calls.append("fails")
        raise ConnectionError

    @pipeline("wait/then-fails")
    def then_fails() -> str:
        came = wait_for("go", timeout=DAY)
        try:
            fails()
        except StepFailed:
            return f"failed after {came}"
        return ""

    task = then_fails.enqueue()
    work()
    send("go", {"n": 1})

    assert finish(task).result == "failed after {'n': 1}"
    assert Step.objects.filter(task=task, key="go").count() == 1
