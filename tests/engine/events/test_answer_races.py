"""Answers on concurrent connections: of an answer, another one, an event, a timeout and a cancel one counts."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from taskqueue.engine.actions.answers import answer, find_question
from taskqueue.engine.events.route import route
from taskqueue.engine.events.send import send
from taskqueue.engine.tasks import control
from taskqueue.errors import AlreadyAnswered, QuestionClosed
from taskqueue.models import Event, Question, Step, Task, Wait
from taskqueue.testing import advance, work
from tests.support.database.races import OpenTransaction, run_concurrently, run_until_blocked
from tests.support.pipelines.refunds import refund
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def task():
    created = refund.enqueue(7)
    work()
    return created


def answering(task, amount=1, by="anna"):
    """An answer to the question as it is read now."""
    question = find_question(task.pk, "refund/approved")
    return partial(answer, question, {"approved": True, "amount": amount}, by=by)


def result_of(task):
    work()
    return Task.objects.get(pk=task.pk).result


def unrouted_event(**data):
    with transaction.atomic():
        event = send("refund/approved", {"order": 7, **data})
        connection.run_on_commit.clear()
    return event


def test_of_answers_at_once_one_counts_and_the_others_read_whose(task):
    callers = iter([answering(task, amount, by=f"person {amount}") for amount in range(1, 5)])

    results = run_concurrently(4, lambda: next(callers)())

    (winner,) = [result for result in results if isinstance(result, Question)]
    refusals = [result.detail for result in results if isinstance(result, AlreadyAnswered)]
    assert len(refusals) == 3
    assert all(f"answered already by {winner.answered_by} at" in detail for detail in refusals)
    assert result_of(task) == f"True {winner.answered_by.removeprefix('person ')}"


def test_an_event_that_is_routed_during_an_answer_finds_the_wait_ended(task):
    event = unrouted_event(amount=99)
    answered = OpenTransaction(answering(task))
    routed = run_until_blocked(lambda: route(event.pk))

    answered.end()

    assert routed.result(timeout=90) is True
    assert result_of(task) == "True 1"
    assert Wait.objects.get().outcome == "answer"
    assert Event.objects.get().routed_at is not None


def test_an_answer_during_the_routing_of_an_event_reads_that_it_came_first(task):
    event, late = unrouted_event(amount=99), answering(task)
    routed = OpenTransaction(lambda: route(event.pk))
    answered = run_until_blocked(late)

    assert routed.end() is True

    assert isinstance(answered.exception(timeout=90), QuestionClosed)
    assert result_of(task) == "False 99"


def test_a_cancel_during_an_answer_cancels_the_task_that_continues(task):
    answered = OpenTransaction(answering(task))
    cancelled = run_until_blocked(lambda: control.cancel(task.pk))

    answered.end()

    assert cancelled.result(timeout=90).status == "cancelled"
    assert (Wait.objects.get().outcome, result_of(task)) == ("answer", None)


def test_an_answer_during_a_cancel_reads_that_the_task_has_ended(task):
    late = answering(task)
    cancelled = OpenTransaction(lambda: control.cancel(task.pk))
    answered = run_until_blocked(late)

    cancelled.end()

    error = answered.exception(timeout=90)
    assert isinstance(error, QuestionClosed)
    assert "cancelled" in str(error)
    assert Step.objects.get(task=task).output is None


def test_an_answer_whose_question_times_out_before_its_commit_counts(task):
    for rows in (Step.objects.filter(task=task), Wait.objects.filter(task=task)):
        rows.update(until=Now() + timedelta(seconds=1))
    Task.objects.filter(pk=task.pk).update(due_at=Now(), sort_at=Now())
    answered = OpenTransaction(answering(task))
    eventually(lambda: Step.objects.filter(task=task, until__lte=Now()).exists())
    work()  # finds a task that is due and locked

    answered.end()

    assert result_of(task) == "True 1"


def test_an_answer_that_comes_to_the_lock_after_the_timeout_does_not_count(task):
    late = answering(task)
    holder = OpenTransaction(lambda: Task.objects.select_for_update().get(pk=task.pk))
    answered = run_until_blocked(late)
    Step.objects.filter(task=task).update(until=Now())

    holder.end()

    assert isinstance(answered.exception(timeout=90), QuestionClosed)
    advance(days=1)
    assert result_of(task) == "no answer"


def test_an_answer_that_is_rolled_back_leaves_the_question_open(task):
    OpenTransaction(answering(task)).roll_back()

    assert Wait.objects.get().outcome == ""
    answering(task, amount=2)()
    assert result_of(task) == "True 2"
