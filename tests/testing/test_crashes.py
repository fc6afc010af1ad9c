"""assert_crash_safe: the worker crashes at every commit of a task, and unsafe steps are named."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import transaction

from taskqueue import Permanent, Retry, StepFailed, emit, gather, pipeline, sleep, step, wait_for
from taskqueue.models import Task, Worker
from taskqueue.testing import NotCrashSafe, assert_crash_safe

pytestmark = pytest.mark.django_db

charges: list[int] = []


@pytest.fixture(autouse=True)
def _nothing_charged() -> None:
    charges.clear()


@step
def double(number: int) -> int:
    return 2 * number


@step
def charge(amount: int) -> int:
    charges.append(amount)
    return amount


@step
def write_down(name: str) -> str:
    Group.objects.create(name=f"{name} {Group.objects.count()}")
    return name


@step.atomic
def write_down_once(name: str) -> str:
    Group.objects.create(name=f"{name} {Group.objects.count()}")
    return name


def test_steps_without_effects_are_reported_as_repeated():
    @pipeline("crashes/plain")
    def plain(number: int) -> int:
        return double(double(number))

    report = assert_crash_safe(plain, 3)

    assert report.commits == 5, "a claim, two steps, the end, and a claim that finds nothing"
    assert report.crashes == 10
    assert report.repeated == ("double", "double#2")
    assert report.result_compared


def test_a_plain_step_that_writes_to_the_database_is_named():
    @pipeline("crashes/rows")
    def rows(name: str) -> str:
        return write_down(name)

    with pytest.raises(NotCrashSafe) as refused:
        assert_crash_safe(rows, "a")

    text = str(refused.value)
    assert "step 'write_down' ran twice and is not safe to repeat" not in text
    assert (
        "step 'write-down' ran twice and is not safe to repeat: make it step.atomic or give the remote call a key"
        in text
    )
    assert "rows of auth.Group: 2 instead of 1" in text
    assert "(in step 'write-down')" in text


def test_an_atomic_step_that_writes_is_safe():
    @pipeline("crashes/atomic")
    def atomic(name: str) -> str:
        return write_down_once(name)

    assert assert_crash_safe(atomic, "a").repeated == ("write-down-once",)


def test_a_remote_call_is_found_by_its_effects():
    @pipeline("crashes/charge")
    def pay(amount: int) -> int:
        return charge(amount) + double(amount)

    with pytest.raises(
        NotCrashSafe, match=r"step 'charge' ran twice.*\n.*effects: \[7, 7\] instead of \[7\]"
    ) as refused:
        assert_crash_safe(pay, 7, effects=lambda: charges, reset=charges.clear)

    assert "'double'" not in str(refused.value)


def test_a_remote_call_with_a_key_is_safe():
    charged: dict[str, int] = {}

    @step
    def charge_by_key(key: str, amount: int) -> int:
        return charged.setdefault(key, amount)

    @pipeline("crashes/by-key")
    def pay(amount: int) -> int:
        return charge_by_key("order 1", amount)

    report = assert_crash_safe(pay, 7, effects=lambda: charged, reset=charged.clear)

    assert report.repeated == ("charge-by-key",)


def test_a_remote_call_in_an_atomic_step_is_explained():
    @step.atomic
    def charge_and_note(amount: int) -> int:
        Group.objects.create(name=f"{amount}")
        charges.append(amount)
        return amount

    @pipeline("crashes/both")
    def both(amount: int) -> int:
        return charge_and_note(amount)

    with pytest.raises(NotCrashSafe, match="rolls back only its writes to the database"):
        assert_crash_safe(both, 7, effects=lambda: charges, reset=charges.clear)


def test_effects_of_the_body_are_named():
    @pipeline("crashes/body")
    def body(number: int) -> int:
        charges.append(number)
        return double(number)

    with pytest.raises(NotCrashSafe, match="the body itself has effects"):
        assert_crash_safe(body, 7, effects=lambda: charges, reset=charges.clear)


def test_effects_that_are_not_reset_are_refused():
    @pipeline("crashes/accumulates")
    def pay(amount: int) -> int:
        return charge(amount)

    with pytest.raises(NotCrashSafe, match="Two runs without any crash differ in their effects"):
        assert_crash_safe(pay, 7, effects=lambda: charges)


def test_code_that_catches_everything_does_not_survive_a_crash():
    @step.atomic
    def cling(number: int) -> int:
        Group.objects.create(name="before")
        try:
            with transaction.atomic():
                Group.objects.create(name="clinging")
        except BaseException:  # noqa: BLE001 - that is the point
            return -1
        return number

    @pipeline("crashes/clings")
    def clings(number: int) -> int:
        try:
            return cling(number) + double(number)
        except BaseException:  # noqa: BLE001 - that is the point
            return double(-number)

    assert assert_crash_safe(clings, 7).commits == 5


@pytest.mark.slow
def test_retries_and_failures_are_safe():
    calls_made: list[int] = []

    @step(retry=Retry.fixed(timedelta(minutes=1), retries=1))
    def fail_once(number: int) -> int:
        calls_made.append(number)
        if len(calls_made) == 1:
            raise ConnectionError("once")
        return number

    @step
    def refuse() -> int:
        raise Permanent("never")

    @pipeline("crashes/retries")
    def retried(number: int) -> list[Any]:
        first = fail_once(number)
        try:
            refuse()
        except StepFailed as failed:
            return [first, failed.error_type]
        return []

    assert assert_crash_safe(retried, 4, reset=calls_made.clear).result_compared


def test_parallel_steps_are_safe():
    @pipeline("crashes/parallel")
    def parallel(number: int) -> list[int]:
        return list(gather(double.defer(number), double.defer(2)))

    assert assert_crash_safe(parallel, 4).crashes >= 18


@pytest.mark.slow
def test_waits_events_and_children_are_safe():
    @pipeline("crashes/child")
    def child(number: int) -> int:
        return double(number)

    @pipeline("crashes/waits")
    def waits(number: int) -> list[Any]:
        sleep("night", timedelta(hours=8))
        paid = wait_for("order/paid", match={"number": 4}, timeout=timedelta(days=1))
        emit("order/done", {"number": number})
        return [child(number), paid is not None]

    assert assert_crash_safe(waits, 4, events=[("order/paid", {"number": 4})]).crashes > 20
    assert not Task.objects.exists()
    assert not Worker.objects.exists()


def test_an_async_pipeline_is_safe():
    @step
    async def fetch(number: int) -> int:
        return number + 1

    @pipeline("crashes/async")
    async def several(number: int) -> list[int]:
        return list(await asyncio.gather(fetch(number), fetch(number + 1)))

    assert assert_crash_safe(several, 1).commits == 5


def test_results_that_always_differ_are_not_compared():
    @step.atomic
    def key_of(name: str) -> int:
        return int(Group.objects.create(name=name).pk)

    @pipeline("crashes/serial")
    def serial(name: str) -> int:
        return key_of(name)

    assert not assert_crash_safe(serial, "a").result_compared


@pytest.mark.django_db(transaction=True)
def test_without_a_test_transaction_no_rows_are_left():
    @pipeline("crashes/really")
    def really(name: str) -> str:
        return write_down_once(name)

    assert assert_crash_safe(really, "a").crashes == 8
    assert not Group.objects.exists()
    assert not Task.objects.exists()
