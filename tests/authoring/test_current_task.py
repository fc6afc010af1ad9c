"""current_task(): what code inside a task can read and report."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue import Retry, current_task, pipeline, step
from taskqueue.engine.execution.activity import Activity
from taskqueue.errors import InvalidContext
from taskqueue.testing import InProcessWorker, work
from tests.support.endings import finish, reload

pytestmark = pytest.mark.django_db


def test_it_knows_its_id_pipeline_key_and_labels_in_the_body_and_in_steps():
    def facts() -> list[object]:
        task = current_task()
        return [str(task.id), task.pipeline, task.key, task.labels, task.attempt]

    @step
    def tell() -> list[object]:
        return facts()

    @pipeline("current/facts")
    def body() -> list[list[object]]:
        return [facts(), tell()]

    task = finish(body.using(key="order-1", labels={"tenant": "a"}).enqueue())

    expected = [str(task.pk), "current/facts", "order-1", {"tenant": "a"}, 1]
    assert task.result == [expected, expected]


def test_attempts_are_counted_per_step_and_for_the_body():
    seen: list[tuple[str, int]] = []

    @step(retry=Retry.fixed(timedelta(minutes=1), retries=3))
    def flaky() -> None:
        seen.append(("flaky", current_task().attempt))
        if current_task().attempt < 3:
            raise ConnectionError

    @step
    def steady() -> None:
        seen.append(("steady", current_task().attempt))

    @pipeline("current/attempts", retry=Retry.fixed(timedelta(minutes=1), retries=1))
    def body() -> None:
        flaky()
        seen.append(("body", current_task().attempt))
        if current_task().attempt < 2:
            raise ConnectionError
        steady()

    finish(body.enqueue())

    assert seen == [("flaky", 1), ("flaky", 2), ("flaky", 3), ("body", 1), ("body", 2), ("steady", 1)]


def test_progress_is_kept_for_the_heartbeat():
    @step
    def report() -> None:
        current_task().progress(0.4, "page 4\x00 of 10" + "x" * 300)

    @pipeline("current/progress")
    def body() -> None:
        report()

    task = body.enqueue()
    activity = Activity()
    InProcessWorker(activity=activity).work()

    assert activity.progress is not None
    lease, fraction, note = activity.progress
    assert (lease.task, fraction, note[:13], len(note)) == (task.pk, 0.4, "page 4\N{SYMBOL FOR NULL} of 10", 200)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan"), float("inf")])
def test_an_invalid_progress_does_not_fail_the_step(fraction):
    @pipeline("current/share", retry=Retry.never())
    def body() -> None:
        current_task().progress(fraction)

    assert finish(body.enqueue()).status == "succeeded"


def test_outside_of_a_task_there_is_none():
    with pytest.raises(InvalidContext, match="outside of a task"):
        current_task()


def test_after_a_task_there_is_none():
    @pipeline("current/after")
    def body() -> None: ...

    body.enqueue()
    work()

    with pytest.raises(InvalidContext):
        current_task()


def test_a_context_variable_that_a_body_sets_does_not_leak_into_the_next_task():
    from contextvars import ContextVar

    tenant: ContextVar[str] = ContextVar("tenant", default="none")

    @pipeline("current/leak")
    def body(name: str) -> str:
        before = tenant.get()
        tenant.set(name)
        return before

    tasks = [body.enqueue("a"), body.enqueue("b")]
    work()

    assert [reload(task).result for task in tasks] == ["none", "none"]
    assert tenant.get() == "none"
