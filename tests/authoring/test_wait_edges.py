"""Edge cases of waits and events."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import BaseModel, field_validator

from taskqueue import CancelOn, emit, event_of, pipeline, sleep, step, wait_any, wait_for
from taskqueue.engine.catalog.sync import sync_pipeline
from taskqueue.engine.events.route import route
from taskqueue.engine.events.send import send
from taskqueue.engine.tasks import control
from taskqueue.errors import InvalidEventData
from taskqueue.models import Event, Skip, Task, Wait
from taskqueue.testing import advance, work
from tests.support.endings import finish, outputs_of, reload

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


class Approval(BaseModel):
    by: str


def test_an_event_ends_only_one_wait_even_before_routing():
    @pipeline("edges/twice")
    def twice() -> list[object]:
        return [wait_for("tick", timeout=DAY), wait_for("tick", timeout=DAY)]

    task = twice.enqueue()
    event = send("tick", {"n": 1})
    work()
    work()
    route(event.pk)
    work()

    assert reload(task).status == "waiting"
    assert list(outputs_of(task)) == ["tick", "tick#2"]
    assert list(Wait.objects.order_by("pk").values_list("outcome", flat=True)) == ["event", ""]


def test_a_task_finds_an_event_that_it_sent_itself():
    @step
    def asks() -> None:
        emit("edges/asked", {"n": 1})

    @pipeline("edges/own")
    def own() -> object:
        asks()
        return wait_for("edges/asked", timeout=DAY)

    assert finish(own.enqueue()).result == {"n": 1}


def test_an_event_routed_after_the_tasks_creation_is_found():
    @pipeline("edges/late")
    def late() -> object:
        return wait_for("go", timeout=DAY)

    event = send("go", {"n": 1})
    task = late.enqueue()
    route(event.pk)
    work()
    work()

    assert reload(task).result == {"n": 1}


@pytest.mark.parametrize("name", ["n" * 200, "größe/" + "x" * 190])
def test_names_of_any_length_can_be_sent_and_waited_for_twice(name):
    @pipeline("edges/long")
    def long() -> list[object]:
        emit(name, {"n": 1})
        emit(name, {"n": 2})
        return [wait_for(name, timeout=DAY), wait_for(name, timeout=DAY)]

    assert finish(long.enqueue()).result == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize("name", ["", "n" * 201, "a\nb"])
def test_an_invalid_wait_name_fails_the_task_and_not_the_worker(name):
    @pipeline("edges/bad-name")
    def bad_name() -> object:
        return wait_for("go", timeout=DAY, name=name)

    task = bad_name.enqueue()
    work()

    assert (reload(task).status, reload(task).error["type"]) == ("failed", "InvalidContext")


def test_a_too_long_sleep_name_does_not_end_the_worker():
    @pipeline("edges/long-sleep")
    def long_sleep() -> None:
        sleep("n" * 201, DAY)

    task = long_sleep.enqueue()
    work()

    assert (reload(task).status, reload(task).error["type"]) == ("failed", "InvalidContext")


class Picky(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def break_down(cls, value: int) -> int:
        raise KeyError(f"out of order: {value}")


def test_a_validator_that_raises_causes_a_skip_only():
    @pipeline("edges/picky", on="edges/made")
    def picky(request: Picky) -> None: ...

    @pipeline("edges/robust", on="edges/made")
    def robust(n: int) -> int:
        return n

    @pipeline("edges/sender")
    def sender() -> str:
        emit("edges/made", {"n": 1})
        return "sent"

    sync_pipeline(picky.definition)
    sync_pipeline(robust.definition)
    task = finish(sender.enqueue())
    work()

    assert task.result == "sent"
    assert Event.objects.get().routed_at is not None
    assert Task.objects.get(pipeline="edges/robust").result == 1
    assert "KeyError" in Skip.objects.get(pipeline="edges/picky").reason


@pytest.fixture
def doomed():
    @pipeline("edges/doomed", cancel_on=CancelOn("order/cancelled", match={"order": "{order}"}))
    def doomed(order: int) -> object:
        return wait_for("never", timeout=DAY)

    return doomed


def test_an_event_can_cancel_a_task_again_after_a_retry(doomed):
    task = doomed.enqueue(7)
    work()
    event = send("order/cancelled", {"order": 7})
    work()

    assert reload(task).status == "cancelled"
    assert str(event.pk) in reload(task).cancel_reason
    assert event.resolved.get().task == task
    control.retry(task.pk)
    work()
    assert reload(task).status == "waiting"
    again = send("order/cancelled", {"order": 7})
    work()
    assert (reload(task).status, again.resolved.get().task) == ("cancelled", task)


def test_an_event_closes_open_waits_of_ended_tasks(doomed):
    task = doomed.enqueue(7)
    work()
    control.cancel(task.pk)
    for name, data in [("never", {}), ("order/cancelled", {"order": 7})]:
        route(send(name, data).pk)

    assert set(Wait.objects.values_list("outcome", flat=True)) == {"closed"}
    assert reload(task).cancel_reason == ""
    control.retry(task.pk)
    route(send("order/cancelled", {"order": 7}).pk)
    assert reload(task).status == "cancelled"


def test_an_event_that_cancels_a_task_does_not_end_its_wait_too():
    @pipeline("edges/both", cancel_on="stop")
    def both() -> object:
        return wait_for("stop", timeout=DAY)

    task = both.enqueue()
    work()
    route(send("stop", {}).pk)
    work()

    assert reload(task).status == "cancelled"
    assert task.steps.get().status == "waiting"


def test_the_event_that_starts_a_task_neither_cancels_it_nor_ends_its_wait():
    @pipeline("edges/self", on="go", cancel_on="go")
    def starts() -> object:
        return wait_for("go", timeout=DAY)

    sync_pipeline(starts.definition)
    route(send("go", {}).pk)
    work()
    work()

    assert Task.objects.get().status == "waiting"


def test_an_abandoned_wait_is_deleted_and_can_be_repeated(calls):
    @pipeline("edges/changing")
    def changing() -> object:
        if len(calls) == 1:
            sleep("instead", timedelta(hours=1))
        return wait_for("go", match={"n": len(calls)}, timeout=DAY)

    task = changing.enqueue()
    work()
    calls.append("changed")
    Task.objects.update(status="queued", due_at=task.created_at, sort_at=task.created_at)
    work()
    assert not Wait.objects.exists()
    calls.append("changed again")
    advance(hours=1)
    work()
    send("go", {"n": 2})
    work()

    assert reload(task).result == {"n": 2}


def test_a_body_can_catch_invalid_event_data_and_wait_again():
    @pipeline("edges/patient")
    def patient() -> str:
        while True:
            try:
                approval = wait_for("approved", timeout=DAY, model=Approval)
            except InvalidEventData:
                continue
            return approval.by if approval else "no approval"

    task = patient.enqueue()
    send("approved", {"bye": 1})
    send("approved", {"by": "ada"})

    assert finish(task).result == "ada"


def test_after_a_retry_from_a_wait_the_same_event_is_found_again():
    @pipeline("edges/again")
    def again() -> object:
        return wait_for("go", timeout=DAY)

    task = again.enqueue()
    send("go", {"n": 1})
    finish(task)
    control.retry(task.pk, from_step="go")

    assert finish(task).result == {"n": 1}
    assert Wait.objects.count() == 1


def test_an_event_in_time_ends_a_wait_past_its_timeout():
    @pipeline("edges/in-time")
    def in_time() -> object:
        return wait_for("go", timeout=timedelta(hours=1))

    task = in_time.enqueue()
    work()
    advance(minutes=59)
    event = send("go", {"n": 1})
    advance(minutes=2)
    route(event.pk)
    work()

    assert reload(task).result == {"n": 1}


def test_an_event_that_matches_several_counts_as_the_first():
    @pipeline("edges/several")
    def several() -> object:
        came = wait_any(event_of("a"), event_of("go", match={"n": 1}), event_of("go"), timeout=DAY)
        return came and came.index

    waiting, looking_back = several.enqueue(), several.enqueue()
    work()
    route(send("go", {"n": 1}).pk)
    work()

    assert [reload(waiting).result, reload(looking_back).result] == [1, 1]
    assert list(Wait.objects.filter(task=waiting).order_by("position").values_list("outcome", flat=True)) == [
        "closed",
        "event",
        "closed",
    ]


def test_a_wait_is_typed_by_whatever_pydantic_reads():
    @pipeline("edges/typed")
    def typed() -> str:
        found = wait_for("go", timeout=DAY, model=dict[str, timedelta])
        return str(found and found["span"] + DAY)

    task = typed.enqueue()
    send("go", {"span": "P1D"})

    assert finish(task).result == "2 days, 0:00:00"
