"""Drift: differences between a task's record and the code that continues it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from taskqueue import Retry, StepFailed, sleep, step
from taskqueue.engine.tasks import control
from taskqueue.models import Attempt, Task
from taskqueue.testing import advance, work
from tests.support.endings import finish, outputs_of, reload
from tests.support.pipelines.deploys import deploy

pytestmark = pytest.mark.django_db

SOON = Retry.fixed(timedelta(seconds=1), retries=1)


@step
def charge(amount: int) -> str:
    return f"charged {amount}"


@step
def ship(parcel: str, *, express: bool = False) -> str:
    return f"shipped {parcel}"


def started(body: Any, **options: Any) -> Task:
    """A task that has reached its first pause on this body."""
    task: Task = deploy(body, **options).enqueue()
    work()
    assert reload(task).status == "waiting"
    return task


def resumed(task: Task) -> Any:
    """The task after its pause."""
    advance(minutes=1)
    return finish(task)


def old() -> str:
    receipt = charge(3)
    sleep("pause", timedelta(minutes=1))
    return receipt


def same() -> str:
    # The same, in other words.
    receipt = charge(
        3,
    )
    sleep("pause", timedelta(minutes=1))
    return receipt


def dearer() -> str:
    receipt = charge(4)
    sleep("pause", timedelta(minutes=1))
    return receipt


def longer() -> str:
    receipt = charge(3)
    sleep("pause", timedelta(minutes=2))
    return receipt


def without() -> str:
    sleep("pause", timedelta(minutes=1))
    return "nothing charged"


def test_equivalent_code_is_no_drift():
    task = started(old)
    deploy(same)

    task = resumed(task)

    assert (task.status, task.drift) == ("succeeded", None)
    assert task.code_began == task.code_ended != ""


def test_changed_arguments_are_drift_and_the_output_is_kept():
    task = started(old)
    deploy(dearer)

    task = resumed(task)

    assert (task.status, task.result) == ("succeeded", "charged 3")
    assert task.drift == [{"key": "charge", "kind": "arguments", "recorded": '{"amount": 3}', "now": '{"amount":4}'}]
    assert task.code_began != task.code_ended


def test_a_changed_pause_is_recorded_as_drift():
    task = started(old)
    deploy(longer)

    assert [(note["key"], note["kind"]) for note in resumed(task).drift] == [("pause", "arguments")]


def test_an_unused_recorded_step_is_drift_at_the_end():
    task = started(old)
    deploy(without)

    task = resumed(task)

    assert (task.status, task.result) == ("succeeded", "nothing charged")
    assert task.drift == [{"key": "charge", "kind": "unused", "recorded": '{"amount": 3}', "now": None}]


def test_no_step_counts_as_unused_while_the_body_pauses():
    task = started(old)

    @step(name="ship", retry=SOON)
    def unsteady() -> None:
        raise ConnectionError

    def body() -> str:
        sleep("pause", timedelta(minutes=1))
        unsteady()
        return charge(3)

    deploy(body, strict=True)
    advance(minutes=1)
    work()

    assert (reload(task).status, reload(task).drift) == ("retrying", None)


def test_an_error_cuts_a_body_short_and_is_not_hidden_by_drift():
    task = started(old)

    def body() -> None:
        raise LookupError("no such shop")

    deploy(body, strict=True, retry=Retry.never())
    task = resumed(task)

    assert (task.error["type"], task.drift) == ("LookupError", None)


def test_the_arguments_of_a_step_that_had_failed_are_compared_too():
    @step(retry=Retry.never())
    def fail(amount: int) -> None:
        raise ValueError

    def body(amount: int = 1) -> str:
        try:
            fail(amount)
        except StepFailed:
            sleep("pause", timedelta(minutes=1))
        return "caught"

    task = started(body)

    def changed(amount: int = 1) -> str:
        return body(amount + 1)

    deploy(changed)

    assert [(note["key"], note["kind"]) for note in resumed(task).drift] == [("fail", "arguments")]


def test_a_strict_task_fails_before_new_work_and_without_a_retry():
    task = started(old)

    def body() -> str:
        return ship(charge(4))

    deploy(body, strict=True)
    advance(minutes=1)
    work()

    task = reload(task)
    assert (task.status, task.error["type"], task.error["step"]) == ("failed", "Drift", "charge")
    assert task.error["message"] == "Step 'charge' is recorded with other arguments than it is called with now."
    assert task.drift == [{"key": "charge", "kind": "arguments", "recorded": '{"amount": 3}', "now": '{"amount":4}'}]
    assert list(outputs_of(task)) == ["charge", "pause"]
    assert not Attempt.objects.exists()


def test_a_strict_body_cannot_catch_its_drift():
    task = started(old)

    def body() -> str:
        try:
            return charge(4)
        except Exception:  # noqa: BLE001 - what an author may write
            return "caught"

    deploy(body, strict=True)

    assert resumed(task).error["type"] == "Drift"


def test_a_strict_task_fails_for_an_unused_step():
    task = started(old)
    deploy(without, strict=True)

    task = resumed(task)

    assert (task.error["type"], task.error["step"]) == ("Drift", "charge")
    assert task.error["message"] == "The body has ended without requesting the recorded step 'charge'."
    assert task.drift == [{"key": "charge", "kind": "unused", "recorded": '{"amount": 3}', "now": None}]


@pytest.mark.usefixtures("lane")
@pytest.mark.django_db(transaction=True)
def test_a_strict_async_task_fails_alike():
    @step
    async def ask(question: str) -> str:
        return question.upper()

    async def body() -> tuple[str, str]:
        answers = await asyncio.gather(ask("a"), ask("b"))
        sleep("pause", timedelta(minutes=1))
        return answers

    async def changed() -> tuple[str, str]:
        return await asyncio.gather(ask("a"), ask("c"))

    task = started(body)
    deploy(changed, strict=True)

    task = resumed(task)

    assert (task.error["type"], task.error["step"]) == ("Drift", "ask#2")


def test_a_failed_task_is_retried_from_the_step_that_drifted():
    task = started(old)
    deploy(dearer, strict=True)
    assert resumed(task).status == "failed"

    control.retry(task.pk, from_step="charge")
    assert (reload(task).drift, reload(task).code_ended) == (None, "")
    work()
    task = resumed(task)

    assert (task.status, task.result, task.drift) == ("succeeded", "charged 4", None)


def test_a_default_that_a_step_gained_is_drift():
    @step(name="wrap")
    def wrap(parcel: str) -> str:
        return parcel

    @step(name="wrap")
    def wrap_in(parcel: str, paper: str = "brown") -> str:
        return parcel

    def body() -> str:
        wrap("A")
        sleep("pause", timedelta(minutes=1))
        return "wrapped"

    def changed() -> str:
        wrap_in("A")
        sleep("pause", timedelta(minutes=1))
        return "wrapped"

    task = started(body)
    deploy(changed)

    (note,) = resumed(task).drift
    assert (note["recorded"], note["now"]) == ('{"parcel": "A"}', '{"parcel":"A","paper":"brown"}')


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (float, 1.0),
        (float, 1e22),
        (float, 0.1 + 0.2),
        (int, 2**70),
        (dict[str, int], {"zz": 1, "a": 2, "bbb": 3}),
        (dict[int, float], {10: 1.0, 9: 2.50}),
        (str, '\N{SNOWMAN} \\ " \n'),
        (timedelta, timedelta(days=1, microseconds=1)),
        (Any, {"b": [1.0, {"d": None, "c": True}], "a": 100.0}),
    ],
)
def test_postgresqls_json_format_is_no_drift(kind, value):
    def take(value: Any) -> None: ...

    take.__annotations__ = {"value": kind, "return": None}
    recorded = step(name="take")(take)

    def body() -> None:
        recorded(value)
        sleep("pause", timedelta(minutes=1))

    task = started(body, strict=True)

    task = resumed(task)
    assert (task.status, task.drift) == ("succeeded", None)


@pytest.mark.parametrize("strict", [False, True])
def test_a_set_that_is_written_in_another_order_is_no_drift(strict, monkeypatch):
    @step
    def pack(things: frozenset[str]) -> int:
        return len(things)

    # Sets of the same things that are iterated in different orders, as in two processes.
    things = [frozenset(["a", "b", "c", "d", "e", "f", "g", "h"])]

    def body() -> int:
        packed = pack(things[0])
        sleep("pause", timedelta(minutes=1))
        return packed

    task = started(body, strict=strict)
    backwards = '{"things":' + str(sorted(things[0], reverse=True)).replace("'", '"') + "}"
    monkeypatch.setattr(pack.definition.arguments, "write", lambda *_args, **_kwargs: backwards)
    task = resumed(task)

    assert (task.status, task.drift) == ("succeeded", None)


def test_a_list_in_another_order_is_drift():
    @step
    def pack(things: list[str]) -> int:
        return len(things)

    things = ["a", "b"]

    def body() -> int:
        packed = pack(things)
        sleep("pause", timedelta(minutes=1))
        return packed

    task = started(body)
    things.reverse()

    assert [note["kind"] for note in resumed(task).drift] == ["arguments"]


def test_a_recorded_step_with_invalid_arguments_is_still_replayed():
    task = started(old)

    def body() -> str:
        return charge("many")  # type: ignore[arg-type]

    deploy(body, strict=False)
    task = resumed(task)

    assert (task.result, [note["key"] for note in task.drift]) == ("charged 3", ["pause"])


def test_long_arguments_are_shortened():
    @step
    def read(text: str) -> int:
        return len(text)

    texts = ["x" * 10_000]

    def body() -> int:
        length = read(texts[0])
        sleep("pause", timedelta(minutes=1))
        return length

    task = started(body)
    texts[0] = "y" * 10_000

    (note,) = resumed(task).drift
    assert (len(note["recorded"]), len(note["now"])) == (2_000, 2_000)


def test_at_most_a_hundred_drifts_are_kept():
    @step
    def count(number: int) -> int:
        return number

    offset = [0]

    def body() -> int:
        total = sum(count(number + offset[0]) for number in range(150))
        sleep("pause", timedelta(minutes=1))
        return total

    task = started(body)
    offset[0] = 1

    assert len(resumed(task).drift) == 100
