"""Questions: an answer is checked, ends its wait once, and lets the task continue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from pydantic import BaseModel, Field, SecretStr, model_validator

from taskqueue import emit, event_of, pipeline, wait_any, wait_for
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.actions.answers import answer, find_question
from taskqueue.engine.events.send import send
from taskqueue.engine.tasks import control
from taskqueue.errors import AlreadyAnswered, InvalidAnswer, QuestionClosed, QuestionNotFound, TooLarge
from taskqueue.models import Event, Question, Step, Task, Wait
from taskqueue.testing import advance, run_inline, work

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


class Approval(BaseModel):
    order: int
    approved: bool
    amount: int = Field(default=10, le=100)

    @model_validator(mode="after")
    def has_amount(self) -> Approval:
        if self.approved and not self.amount:
            raise ValueError("an approval needs an amount")
        if self.amount == 13:
            raise ZeroDivisionError("author code")
        return self


@pipeline("questions/refund")
def refund(order: int) -> str:
    approval = wait_for(
        "refund/approved",
        match={"order": order},
        model=Approval,
        assignees=["anna", "group:finance"],
        question=f"Refund order {order}?",
        timeout=DAY,
    )
    return "no answer" if approval is None else f"{approval.approved} {approval.amount}"


@pytest.fixture
def task():
    created = refund.enqueue(7)
    work()
    return Task.objects.get(pk=created.pk)


def question_of(task):
    return find_question(task.pk, "refund/approved")


def test_an_answer_ends_the_wait_and_the_task_continues(task):
    user = User.objects.create_user("anna")

    answered = answer(question_of(task), {"approved": True, "amount": 5}, by="anna", actor=Actor(user.pk, "anna"))

    assert answered.task.status == "queued"
    work()
    task.refresh_from_db()
    wait, output = task.waits.get(), Step.objects.get(task=task, key="refund/approved").output
    assert (task.status, task.result) == ("succeeded", "True 5")
    assert (wait.outcome, wait.answered_by, wait.resolved_by) == ("answer", "anna", None)
    assert (output["data"], output["answered_by"]) == ({"order": 7, "approved": True, "amount": 5}, "anna")
    assert (output["id"], output["index"], output["name"]) == (None, 0, "refund/approved")
    assert LogEntry.objects.get().get_change_message() == "Answered refund/approved."
    assert not Event.objects.exists()


def test_the_wait_holds_what_a_form_needs(task):
    question = question_of(task)

    assert (question.assignees, question.question) == (["anna", "group:finance"], "Refund order 7?")
    assert set(question.answer_schema["properties"]) == {"order", "approved", "amount"}
    assert question.answer_model == f"{__name__}:Approval"
    assert "assignees" not in str(Step.objects.get(task=task).input)


def test_a_wait_without_assignees_is_no_question():
    @pipeline("questions/plain")
    def plain() -> object:
        return wait_for("refund/approved", timeout=DAY)

    created = plain.enqueue()
    work()

    assert Wait.objects.get().assignees is None
    with pytest.raises(QuestionNotFound):
        find_question(created.pk, "refund/approved")


@pytest.mark.parametrize(
    ("data", "errors"),
    [
        ({}, [("/approved", "Field required")]),
        ({"approved": True, "order": 8}, [("/order", "It is 7 in this question.")]),
        ({"approved": True, "amount": 101}, [("/amount", "Input should be less than or equal to 100")]),
        ({"approved": True, "amount": 0}, [("", "Value error, an approval needs an amount")]),
        ({"approved": True, "amount": 13}, [("", "The model's own code failed: ZeroDivisionError: author code.")]),
        ([], [("", "Input should be an object")]),
    ],
)
def test_an_invalid_answer_leaves_the_question_open(task, data, errors):
    with pytest.raises(InvalidAnswer) as caught:
        answer(question_of(task), data, by="anna")

    assert [tuple(error) for error in caught.value.errors] == errors
    assert Question.objects.get().outcome == ""


def test_an_answer_is_checked_by_its_schema_where_the_model_is_missing(task):
    Question.objects.update(answer_model="gone.with_the_code:Approval")

    with pytest.raises(InvalidAnswer) as caught:
        answer(question_of(task), {"approved": "what", "amount": 101}, by="anna")

    assert sorted(pointer for pointer, _detail in caught.value.errors) == ["/amount", "/approved"]
    answer(question_of(task), {"approved": False}, by="anna")
    work()
    assert Task.objects.get(pk=task.pk).result == "False 10"


def test_an_answer_that_is_too_large_is_refused(task, settings):
    settings.TASKQUEUE = {**settings.TASKQUEUE, "PAYLOAD_MAX_BYTES": 50}

    with pytest.raises(TooLarge, match="The answer is"):
        answer(question_of(task), {"approved": True, "note": "x" * 50}, by="anna")


def test_a_second_answer_reads_who_answered(task):
    answer(question_of(task), {"approved": True}, by="anna")

    with pytest.raises(AlreadyAnswered, match=r"answered already by anna at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"):
        answer(question_of(task), {"approved": False}, by="bob")


def test_an_event_still_ends_the_wait_and_closes_the_question(task):
    question = question_of(task)
    send("refund/approved", {"order": 7, "approved": False})
    work()

    assert Task.objects.get(pk=task.pk).result == "False 10"
    with pytest.raises(QuestionClosed, match="An event refund/approved came before the answer"):
        answer(question, {"approved": True}, by="anna")


def test_a_question_closes_at_its_timeout(task):
    question = question_of(task)
    advance(days=1)

    with pytest.raises(QuestionClosed, match="timed out"):
        answer(question, {"approved": True}, by="anna")
    work()
    assert Task.objects.get(pk=task.pk).result == "no answer"
    with pytest.raises(QuestionClosed, match="timed out at"):
        answer(question_of(task), {"approved": True}, by="anna")


def test_a_cancelled_task_takes_no_answer(task):
    question = question_of(task)
    control.cancel(task.pk)

    with pytest.raises(QuestionClosed, match="The task is cancelled"):
        answer(question, {"approved": True}, by="anna")
    assert Task.objects.get(pk=task.pk).status == "cancelled"


def test_a_retry_from_the_wait_asks_again(task):
    old = question_of(task)
    answer(old, {"approved": True}, by="anna")
    work()
    control.retry(task.pk, from_step="refund/approved")
    work()

    with pytest.raises(QuestionNotFound):
        answer(old, {"approved": True}, by="anna")
    answer(question_of(task), {"approved": False}, by="bob")
    work()
    assert Task.objects.get(pk=task.pk).result == "False 10"


def test_an_answer_starts_no_task_and_ends_no_other_wait(task):
    other = refund.enqueue(7)
    work()

    answer(question_of(task), {"approved": True}, by="anna")
    work()

    assert (Task.objects.get(pk=other.pk).status, Task.objects.count()) == ("waiting", 2)


def test_reminder_and_escalation_are_a_loop_of_waits():
    @pipeline("questions/escalating")
    def escalating() -> str:
        for assignee in ("anna", "group:heads"):
            found = wait_for("go", model=Approval, assignees=[assignee], timeout=timedelta(hours=4))
            if found is not None:
                return f"{assignee} {found.approved}"
            emit("reminder", {"of": assignee})
        return "none"

    created = escalating.enqueue()
    work()
    advance(hours=4)
    work()
    answer(find_question(created.pk, "go#2"), {"order": 1, "approved": True}, by="zoe")
    work()

    assert Task.objects.get(pk=created.pk).result == "group:heads True"
    assert Event.objects.get().data == {"of": "anna"}


def test_the_testing_kit_serves_such_waits_with_events():
    assert run_inline(refund, 7, events=[("refund/approved", {"order": 7, "approved": True})]).result == "True 10"
    assert run_inline(refund, 7, events=[("refund/approved", None)]).result == "no answer"


class Secret(BaseModel):
    word: SecretStr


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"assignees": "anna", "model": Approval}, "not a string"),
        ({"assignees": ["anna"]}, "needs a model"),
        ({"assignees": [""], "model": Approval}, "An assignee is the name of a user"),
        ({"assignees": ["group:"], "model": Approval}, "An assignee is the name of a user"),
        ({"assignees": [7], "model": Approval}, "An assignee is a text of at most 200 characters"),
        ({"assignees": ["a\0"], "model": Approval}, "An assignee is a text"),
        ({"assignees": ["a"] * 51, "model": Approval}, "at most 50 assignees"),
        ({"question": "Well?", "model": Approval}, "needs assignees"),
        ({"assignees": ["anna"], "question": "x" * 2001, "model": Approval}, "A question is a text of at most 2,000"),
        ({"assignees": ["anna"], "model": Secret}, "must not have secret fields"),
        ({"assignees": ["anna"], "model": Callable}, "No form can be made of Callable"),
    ],
)
def test_a_wrong_question_is_refused_where_it_is_asked(values, message):
    with pytest.raises(ValueError, match=message):
        wait_for("go", timeout=DAY, **values)


def test_the_first_of_several_events_is_read_as_before():
    @pipeline("questions/any")
    def any_of() -> object:
        found = wait_any(event_of("a"), event_of("b"), timeout=DAY)
        return found and found.name

    assert run_inline(any_of, events=[("b", {})]).result == "b"
