"""Edge cases that a reliable task queue must handle, one test each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from taskqueue import Permanent, Retry, pipeline, sleep, step
from taskqueue.definitions import registry
from taskqueue.engine.tasks import control
from taskqueue.models import Attempt, IdempotencyKey, Step, Task
from taskqueue.testing import advance, work
from tests.support.endings import finish, outputs_of, reload

pytestmark = pytest.mark.django_db

NAME = "edge/shop"
CALLS: list[str] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()


@step
def charge(amount: int) -> str:
    CALLS.append("charge")
    return f"charged {amount}"


@step
def wrap(order: str = "A") -> str:
    CALLS.append("wrap")
    return f"wrapped {order}"


@step
def ship(order: str = "A") -> str:
    CALLS.append("ship")
    return f"shipped {order}"


@step(name="bill")
def charge_by_another_name(amount: int) -> str:
    CALLS.append("bill")
    return f"billed {amount}"


def pause() -> None:
    sleep("pause", timedelta(minutes=1))


def test_permanent_step_failure():
    is_broken = [True]

    @step
    def decline() -> str:
        CALLS.append("decline")
        if is_broken[0]:
            raise Permanent("card declined")
        return "accepted"

    @pipeline(NAME)
    def body() -> list[str]:
        return [charge(3), decline(), ship()]

    task = body.enqueue()
    work()

    task = reload(task)
    assert (task.status, CALLS) == ("failed", ["charge", "decline"])
    assert task.error == {"type": "Permanent", "message": "card declined", "step": "decline"}
    assert Attempt.objects.get().number == 1
    advance(days=2)
    assert work() == []

    is_broken[0] = False
    control.retry(task.pk)
    assert finish(task).result == ["charged 3", "accepted", "shipped A"]
    assert CALLS == ["charge", "decline", "decline", "ship"]


def test_corrupted_step_output():
    @pipeline(NAME)
    def body() -> str:
        receipt = charge(3)
        pause()
        return f"{receipt}, {ship()}"

    task = body.enqueue()
    work()
    Step.objects.filter(task=task, key="charge").update(output={"not": "a text"})
    advance(minutes=1)

    failed = finish(task)

    assert (failed.status, failed.error["type"], failed.error["step"]) == ("failed", "OutputChanged", None)
    assert "recorded output of step 'charge' no longer fits" in failed.error["message"]
    assert CALLS == ["charge"]

    control.retry(task.pk, from_step="charge")
    assert finish(task).result == "charged 3, shipped A"
    assert CALLS == ["charge", "charge", "ship"]


def before() -> list[str]:
    done = [charge(3), wrap()]
    pause()
    return [*done, ship()]


def with_a_step_added() -> list[str]:
    done = [charge(3), ship("first"), wrap()]
    pause()
    return [*done, ship()]


def with_a_step_removed() -> list[str]:
    done = [charge(3)]
    pause()
    return [*done, ship()]


def with_its_steps_reordered() -> list[str]:
    done = [wrap(), charge(3)]
    pause()
    return [*done, ship()]


def with_a_step_renamed() -> list[str]:
    done = [charge_by_another_name(3), wrap()]
    pause()
    return [*done, ship()]


def with_an_argument_changed() -> list[str]:
    done = [charge(4), wrap()]
    pause()
    return [*done, ship()]


@pytest.mark.parametrize(
    ("after", "result", "called", "drift"),
    [
        (before, ["charged 3", "wrapped A", "shipped A"], ["ship"], []),
        (
            with_a_step_added,
            ["charged 3", "shipped first", "wrapped A", "shipped A"],
            ["ship", "ship"],
            [],
        ),
        (with_a_step_removed, ["charged 3", "shipped A"], ["ship"], [("wrap", "unused")]),
        (with_its_steps_reordered, ["wrapped A", "charged 3", "shipped A"], ["ship"], []),
        (with_a_step_renamed, ["billed 3", "wrapped A", "shipped A"], ["bill", "ship"], [("charge", "unused")]),
        (with_an_argument_changed, ["charged 3", "wrapped A", "shipped A"], ["ship"], [("charge", "arguments")]),
    ],
)
def test_pipeline_changed_in_flight(
    after: Callable[[], list[str]], result: list[str], called: list[str], drift: list[tuple[str, str]]
):
    task = pipeline(NAME)(before).enqueue()
    work()
    assert CALLS == ["charge", "wrap"]
    CALLS.clear()
    registry._pipelines.pop(NAME)
    pipeline(NAME)(after)

    advance(minutes=1)
    task = finish(task)

    assert (task.status, task.result, CALLS) == ("succeeded", result, called)
    assert [(note["key"], note["kind"]) for note in task.drift or []] == drift
    assert (task.code_began != task.code_ended) == (after is not before)


# Not in one transaction, in which PostgreSQL could not remove dead rows of so many updates.
@pytest.mark.django_db(transaction=True)
def test_backpressure():
    slots, backlog = 5, 150
    counts: list[int] = []

    @step
    def look() -> None:
        counts.append(Task.objects.filter(slot_pipeline="edge/limited").count())

    @pipeline("edge/limited", concurrency=slots)
    def limited(number: int) -> int:
        if number < slots:
            pause()
        look()
        return number

    @pipeline("edge/free")
    def free() -> str:
        return ship()

    for number in range(backlog):
        limited.enqueue(number)
    singles = [free.enqueue() for _ in range(3)]
    work()

    # Waiting tasks hold all slots: the backlog stays queued, and the other pipeline runs.
    assert counts == []
    assert Task.objects.filter(slot_pipeline="edge/limited").count() == slots
    assert {reload(single).status for single in singles} == {"succeeded"}

    advance(minutes=1)
    while work():
        pass  # until no task is left, however slow the machine

    assert Task.objects.filter(pipeline="edge/limited", status="succeeded").count() == backlog
    assert (len(counts), max(counts)) == (backlog, slots)


def test_duplicate_task_and_force():
    @pipeline(NAME, retry=Retry.never())
    def body(order: str) -> str:
        return ship(order)

    first = body.using(key="order-1").enqueue("A")
    again = body.using(key="order-1").enqueue("A")
    assert (again.pk, again.duplicate, first.duplicate) == (first.pk, True, False)
    assert finish(first).result == "shipped A"
    assert body.using(key="order-1").enqueue("A").pk == first.pk

    forced: Any = body.using(key="order-1", force=True).enqueue("D")
    assert (forced.pk != first.pk, forced.duplicate) == (True, False)
    assert body.using(key="order-1").enqueue("D").pk == forced.pk
    assert finish(forced).result == "shipped D"

    assert Task.objects.count() == 2
    assert IdempotencyKey.objects.count() == 1
    assert CALLS == ["ship", "ship"]
    advance(hours=25)
    assert not body.using(key="order-1").enqueue("F").duplicate
    assert list(outputs_of(first).values()) == ["shipped A"]
