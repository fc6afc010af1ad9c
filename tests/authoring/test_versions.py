"""Versions: an old body is kept for the tasks that began on it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from taskqueue import pipeline, sleep, step
from taskqueue.definitions import fingerprint, registry
from taskqueue.engine.tasks import control
from taskqueue.errors import DefinitionError
from taskqueue.models import Task
from taskqueue.testing import advance, work
from tests.support.endings import finish, outputs_of, reload

NAME = "versions/shop"


@step
def charge(amount: int) -> str:
    return f"charged {amount}"


@step
def ship() -> str:
    return "shipped"


def first(amount: int) -> str:
    """The body of the first release."""
    receipt = charge(amount)
    sleep("pause", timedelta(minutes=1))
    return f"{receipt}, {ship()}"


def second(amount: int, currency: str = "EUR") -> str:
    """The body of the second release."""
    parcel = ship()
    sleep("pause", timedelta(minutes=1))
    return f"{parcel}, {charge(amount * 100)} {currency}"


async def third(amount: int) -> str:
    parcel = await ship.aio()
    sleep("pause", timedelta(minutes=1))
    return f"{parcel} at last, {await charge.aio(amount)}"


def release(body: Any, version: str = "", **kept: Any) -> Any:
    """Deploy a body as the pipeline's current one, with old bodies."""
    registry._pipelines.pop(NAME, None)
    made = pipeline(NAME, version=version)(body)
    for name, old in kept.items():
        made.version(name.strip("_"))(old)
    return made


@pytest.mark.django_db
def test_two_versions_run_at_the_same_time():
    older = release(first, "1").enqueue(3)
    work()
    newer = release(second, "2", _1=first).enqueue(3)
    work()
    assert (reload(older).status, reload(newer).status) == ("waiting", "waiting")

    advance(minutes=1)
    work()

    assert (reload(older).result, reload(newer).result) == ("charged 3, shipped", "shipped, charged 300 EUR")
    assert (reload(older).version, reload(newer).version) == ("1", "2")
    assert (reload(older).drift, reload(newer).drift) == (None, None)


@pytest.mark.usefixtures("lane")
@pytest.mark.django_db(transaction=True)
def test_an_async_body_may_replace_a_plain_body():
    older = release(first, "1").enqueue(3)
    work()
    newer = release(third, "2", _1=first).enqueue(3)
    work()
    advance(minutes=1)
    work()

    assert (reload(older).result, reload(newer).result) == ("charged 3, shipped", "shipped at last, charged 3")


@pytest.mark.django_db
def test_an_async_body_is_kept():
    older = release(third, "1").enqueue(3)
    work()
    release(first, "2", _1=third)

    advance(minutes=1)
    assert finish(older).result == "shipped at last, charged 3"


@pytest.mark.django_db
def test_tasks_without_a_version_keep_their_body():
    older = release(first).enqueue(3)
    work()
    release(second, "2", __=first)
    advance(minutes=1)

    task = finish(older)

    assert (task.result, task.version, task.drift) == ("charged 3, shipped", "", None)


@pytest.mark.django_db
def test_a_task_that_runs_on_a_kept_body_has_not_changed_its_code():
    older = release(first, "1").enqueue(3)
    work()
    release(second, "2", _1=first)
    advance(minutes=1)

    task = finish(older)

    assert task.code_began == task.code_ended == fingerprint(registry.get(NAME).versions["1"])


@pytest.mark.django_db
def test_a_task_enqueued_before_a_release_runs_on_its_old_body():
    older = release(first, "1").enqueue(3)
    made = release(second, "2", _1=first)
    newer = made.enqueue(3)
    work()

    kept = fingerprint(made.definition.versions["1"])
    assert (reload(older).code_began, reload(newer).code_began) == (kept, fingerprint(made.definition))


@pytest.mark.django_db
def test_a_lost_version_runs_on_the_current_body_and_is_recorded():
    older = release(first, "1").enqueue(3)
    release(second, "2")
    work()
    advance(minutes=1)

    task = finish(older)

    assert (task.status, task.result) == ("succeeded", "shipped, charged 300 EUR")
    assert task.drift == [{"key": "", "kind": "version", "recorded": "1", "now": "2"}]


@pytest.mark.django_db
def test_a_lost_version_alone_does_not_fail_a_strict_task():
    older = release(first, "1").enqueue(3)
    registry._pipelines.pop(NAME)
    pipeline(NAME, version="2", strict=True)(first)
    work()
    advance(minutes=1)

    assert finish(older).status == "succeeded"


@pytest.mark.django_db
def test_a_retry_keeps_the_version_and_a_rerun_starts_on_the_present_one():
    older = release(first, "1").enqueue(3)
    control.cancel(older.pk)
    release(second, "2", _1=first)

    control.retry(older.pk)
    copy = control.rerun(older.pk)
    work()
    advance(minutes=1)
    work()

    assert (reload(older).version, list(outputs_of(older))) == ("1", ["charge", "pause", "ship"])
    assert (reload(copy).version, list(outputs_of(copy))) == ("2", ["ship", "pause", "charge"])


@pytest.mark.django_db
def test_a_kept_body_reads_its_own_payload():
    older = release(second, "1").using(key="a").enqueue(3, "USD")
    release(first, "2", _1=second)
    work()
    advance(minutes=1)

    assert finish(older).result == "shipped, charged 300 USD"


def test_a_kept_body_stays_an_ordinary_function():
    made = release(second, "2")

    assert made.version("1")(first) is first
    assert first(3) == "charged 3, shipped"


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        ("2", r"Version '2' of pipeline 'versions/shop' is its current version\. Give the current body a new version"),
        ("1", r"Version '1' of pipeline 'versions/shop' is defined twice"),
        ("x" * 51, r"up to 50 printable characters"),
        ("a\nb", r"up to 50 printable characters"),
    ],
)
def test_an_invalid_version_is_refused_at_definition(version, sentence):
    made = release(second, "2", _1=first)

    with pytest.raises(DefinitionError, match=sentence):
        made.version(version)(first)


def test_only_a_function_can_be_an_old_body():
    made = release(second, "2")

    with pytest.raises(DefinitionError, match="is not a function"):
        made.version("1")(made)


@pytest.mark.django_db
def test_many_old_tasks_keep_their_body():
    tasks = [release(first, "1").enqueue(number) for number in range(3)]
    work()
    release(second, "2", _1=first)
    advance(minutes=1)
    work()

    assert set(Task.objects.values_list("result", flat=True)) == {f"charged {n}, shipped" for n in range(len(tasks))}
