"""run_inline: it creates a task, runs it to its end while time passes, and returns the result."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from taskqueue import (
    Limit,
    Permanent,
    Rate,
    Retry,
    StepFailed,
    event_of,
    pipeline,
    sleep,
    step,
    wait_any,
    wait_for,
)
from taskqueue.models import Pipeline, Schedule, Task
from taskqueue.testing import RunFailed, fake, run_inline

pytestmark = pytest.mark.django_db


class Order(BaseModel):
    number: str
    amount: int = 1


class Receipt(BaseModel):
    total: int
    at: datetime = datetime(2030, 1, 1, tzinfo=UTC)


@step(retry=Retry.fixed(timedelta(hours=1), retries=2))
def charge(order: Order) -> Receipt:
    return Receipt(total=order.amount)


def test_the_result_has_its_type_and_the_steps_their_outputs():
    @pipeline("inline/plain")
    def plain(order: Order, note: str = "") -> Receipt:
        return charge(order)

    run = run_inline(plain, Order(number="a", amount=3), note="x")

    assert run.result == Receipt(total=3)
    assert (run.status, run.error, run.attempts, run.slept) == ("succeeded", None, [], timedelta(0))
    assert run.steps == {"charge": {"total": 3, "at": "2030-01-01T00:00:00Z"}}
    assert run.task.payload == {"order": {"number": "a", "amount": 3}, "note": "x"}


def test_an_async_pipeline_runs_too():
    @pipeline("inline/async")
    async def later(number: int) -> int:
        return number + 1

    assert run_inline(later, 1).result == 2


def test_options_are_given_with_using():
    @pipeline("inline/options")
    def plain() -> str:
        return "done"

    run = run_inline(plain.using(key="k", labels={"tenant": "a"}, run_at=datetime.now(UTC) + timedelta(days=3)))

    assert (run.result, run.task.key, run.task.labels) == ("done", "k", {"tenant": "a"})
    assert timedelta(days=2, hours=23) < run.slept <= timedelta(days=3)


def test_time_passes_through_sleeps_and_retries():
    @pipeline("inline/slow")
    def slow(order: Order) -> int:
        sleep("trial", timedelta(days=14))
        return charge(order).total

    with fake(charge, returns_each=[ConnectionError("down"), ConnectionError("down"), Receipt(total=9)]) as charged:
        run = run_inline(slow, Order(number="a"))

    assert (run.result, len(charged.calls), len(run.attempts)) == (9, 3, 2)
    assert timedelta(days=14, hours=1) < run.slept < timedelta(days=14, hours=3)


def test_nothing_is_raised_until_the_result_of_a_failed_run_is_asked_for():
    @pipeline("inline/failing")
    def failing(order: Order) -> Receipt:
        return charge(order)

    with fake(charge, raises=Permanent("card declined")):
        run = run_inline(failing, Order(number="a"))

    assert run.error is not None
    assert (run.status, str(run.error), run.error.step) == ("failed", "Permanent: card declined", "charge")
    with pytest.raises(RunFailed) as failed:
        _ = run.result
    assert str(failed.value).startswith(
        "The task of inline/failing failed in step 'charge': Permanent: card declined\n"
        "It had 1 failed attempt; the last one:\nTraceback (most recent call last):\n"
    )


def test_compensation_runs():
    @pipeline("inline/saga")
    def saga(order: Order) -> str:
        try:
            charge(order)
        except StepFailed as failed:
            return f"given back: {failed.error_type}"
        return "charged"

    with fake(charge, raises=ConnectionError("down")):
        run = run_inline(saga, Order(number="a"))

    assert (run.result, len(run.attempts)) == ("given back: ConnectionError", 3)


@pipeline("inline/approval")
def approval(number: str) -> str:
    came = wait_for("order/approved", match={"number": number}, timeout=timedelta(days=3))
    return "too late" if came is None else came["by"]


def test_a_given_event_is_sent_when_the_task_waits_for_it():
    run = run_inline(approval, "a", events=[("order/approved", {"number": "a", "by": "dana"})])

    assert (run.result, run.unsent, run.slept) == ("dana", (), timedelta(0))


def test_events_are_sent_in_their_order():
    @pipeline("inline/two-events")
    def two() -> list[Any]:
        first = wait_for("a", timeout=timedelta(days=1))
        sleep("night", timedelta(hours=8))
        return [first, wait_for("a", timeout=timedelta(days=1), name="again")]

    run = run_inline(two, events=[("a", {"n": 1}), ("a", {"n": 2}), ("b", {})])

    assert run.result == [{"n": 1}, {"n": 2}]
    assert run.unsent == (("b", {}),)


def test_an_event_that_was_not_given_is_named():
    run = run_inline(approval, "a")

    assert run.status == "waiting"
    assert str(run.error) == (
        "Stuck: It waits for event 'order/approved' with number = \"a\", and no such event was given: "
        'add ("order/approved", {…}) to events, or ("order/approved", None) to let the wait time out.'
    )
    with pytest.raises(RunFailed, match="The task of inline/approval has not ended: Stuck: It waits for event"):
        _ = run.result


def test_an_unused_event_is_named_with_the_wait():
    run = run_inline(approval, "a", events=[("order/approved", {"number": "b"})])

    assert str(run.error).endswith('Given and not used: order/approved {"number":"b"}.')


def test_an_event_with_none_for_its_data_does_not_come():
    run = run_inline(approval, "a", events=[("order/approved", None)])

    assert run.result == "too late"
    assert timedelta(days=2, hours=23) < run.slept <= timedelta(days=3)


def test_of_several_events_the_given_one_comes_or_none_does():
    @pipeline("inline/any")
    def first_of() -> str:
        arrived = wait_any(event_of("paid"), event_of("gone"), timeout=timedelta(hours=1))
        return "nothing" if arrived is None else arrived.name

    assert run_inline(first_of, events=[("gone", {})]).result == "gone"
    assert run_inline(first_of, events=[("gone", None)]).result == "nothing"
    assert "event 'paid' or event 'gone'" in str(run_inline(first_of).error)


def test_an_event_that_cancels_the_task_is_sent_when_it_waits():
    @pipeline("inline/cancelled", cancel_on="stop")
    def cancelled() -> None:
        sleep("nap", timedelta(hours=1))

    run = run_inline(cancelled, events=[("stop", {})])

    assert run.error is not None
    assert (run.status, run.error.type) == ("cancelled", "Cancelled")
    with pytest.raises(RunFailed, match=r"inline/cancelled was cancelled: Cancelled: Cancelled by event stop"):
        _ = run.result


def test_time_passes_through_a_throttle():
    @pipeline("inline/throttled", throttle=Rate(1, per=timedelta(hours=1)))
    def throttled() -> str:
        return "done"

    for _ in range(3):
        throttled.enqueue()
    run = run_inline(throttled)

    assert run.result == "done"
    assert timedelta(hours=2) < run.slept < timedelta(hours=4)


def test_a_stuck_task_says_why():
    @pipeline("inline/paused", concurrency=Limit(1))
    def paused() -> None:
        return None

    run_inline(paused)
    Pipeline.objects.filter(name="inline/paused").update(paused_at=datetime(2030, 1, 1, tzinfo=UTC), paused_by="dana")

    run = run_inline(paused)

    assert str(run.error).startswith("Stuck: Pipeline inline/paused was paused by dana at 2030-01-01 00:00:00 UTC.")


def test_a_task_with_endless_pauses_is_stuck(monkeypatch):
    monkeypatch.setattr("taskqueue.testing.inline.MAX_PAUSES", 5)

    @pipeline("inline/endless")
    def endless() -> None:
        while True:
            sleep("nap", timedelta(hours=1))

    assert str(run_inline(endless).error) == "Stuck: It has not ended after 5 pauses."


def test_schedules_of_other_pipelines_stand_still():
    @pipeline("inline/nightly", cron="0 3 * * *")
    def nightly() -> None:
        raise AssertionError("It was not asked for.")

    @pipeline("inline/long")
    def long() -> None:
        sleep("month", timedelta(days=30))

    from taskqueue.engine.catalog.sync import sync_pipelines

    sync_pipelines()
    nightly_clock = Schedule.objects.filter(pipeline="inline/nightly")
    before = nightly_clock.get().next_at
    run = run_inline(long)

    assert (run.status, nightly_clock.get().next_at) == ("succeeded", before)
    assert not Task.objects.filter(pipeline="inline/nightly").exists()


@pytest.mark.django_db(transaction=True)
def test_it_runs_outside_of_a_transaction_too():
    assert run_inline(approval, "a", events=[("order/approved", {"number": "a", "by": "dana"})]).result == "dana"
