"""run_inline and fakes with parallel steps, children, rates and handlers."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue import Rate, Retry, StepFailed, TaskEnded, each, gather, pipeline, sleep, step, wait_for
from taskqueue.models import Task
from taskqueue.testing import assert_enqueued, fake, run_inline

pytestmark = pytest.mark.django_db


@step(retry=Retry.fixed(timedelta(minutes=10), retries=1))
def render(page: int) -> str:
    raise AssertionError("The real function was called.")


@step
def title(book: str) -> str:
    return book.title()


def rendered(page: int) -> str:
    return f"page {page}"


@pipeline("families/child")
def child(number: int) -> str:
    sleep("bank", timedelta(hours=1))
    came = wait_for("paid", match={"number": number}, timeout=timedelta(days=1))
    return "late" if came is None else f"paid {came['number']}"


@pipeline("families/parent")
def parent(numbers: list[int]) -> list[str]:
    return list(gather(*(child.defer(number) for number in numbers)))


def test_parallel_steps_run_and_can_be_faked():
    @pipeline("families/book")
    def book(pages: list[int]) -> list[str]:
        first, name = gather(render.defer(0), title.defer("dune"))
        return [first, name, *each(render, pages, limit=2)]

    with fake(render, calls=rendered) as faked:
        run = run_inline(book, [1, 2, 3])

    assert run.result == ["page 0", "Dune", "page 1", "page 2", "page 3"]
    assert sorted(call["page"] for call in faked.calls) == [0, 1, 2, 3]
    assert (len(run.steps), run.slept) == (5, timedelta(0))


def test_a_parallel_step_that_fails_is_tried_again_after_its_time():
    @pipeline("families/unsteady")
    def unsteady() -> list[str]:
        return each(render, [1, 2])

    with fake(render, returns_each=[ConnectionError("down"), "b", "a"]):
        run = run_inline(unsteady)

    assert (sorted(run.result), len(run.attempts)) == (["a", "b"], 1)
    assert timedelta(minutes=8) < run.slept < timedelta(minutes=12)


def test_a_fake_replaces_parallel_steps_outside_of_tasks():
    with fake(render, calls=rendered):
        assert gather(render.defer(1), render.defer(2)) == ("page 1", "page 2")


def test_children_sleep_and_are_sent_their_events():
    run = run_inline(parent, [1, 2], events=[("paid", {"number": 2}), ("paid", {"number": 1})])

    assert (run.result, run.unsent) == (["paid 1", "paid 2"], ())
    assert timedelta(minutes=59) < run.slept < timedelta(hours=2)
    assert len(assert_enqueued(child, times=2)) == 2


def test_an_event_that_a_child_waits_for_is_named():
    run = run_inline(parent, [1, 2], events=[("paid", {"number": 2})])

    assert "It waits for event 'paid' with number = 1, and no such event was given" in str(run.error)


def test_handlers_run_after_a_failure():
    seen: list[str] = []

    @step
    def note(what: str) -> None:
        seen.append(what)

    @pipeline("families/failing")
    def failing() -> None:
        raise StepFailed("charge", "CardDeclined", "no money")

    @failing.on_failure
    def tidy(ended: TaskEnded) -> None:
        note(f"tidied after {ended.pipeline}")

    run = run_inline(failing)

    assert (run.status, seen) == ("failed", ["tidied after families/failing"])


def test_rates_let_time_pass():
    @step(rate=Rate(1, per=timedelta(hours=1), name="families-api"))
    def ask(number: int) -> int:
        return number

    @pipeline("families/rated")
    def rated() -> list[int]:
        return [ask(number) for number in range(3)]

    run = run_inline(rated)

    assert run.result == [0, 1, 2]
    assert timedelta(hours=1, minutes=55) < run.slept <= timedelta(hours=2, minutes=1)


def test_other_due_tasks_run_too():
    other = child.enqueue(5)

    run_inline(parent, [])

    assert Task.objects.get(pk=other.pk).status == "waiting"
