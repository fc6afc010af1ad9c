"""Questions over the API: who sees and answers them, and how an answer is refused."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User

from taskqueue.engine.actions import tokens
from taskqueue.models import PipelinePermission, Task
from taskqueue.testing import advance, work
from tests.support.api import Api, Caller, problem_of
from tests.support.pipelines.refunds import refund

pytestmark = pytest.mark.django_db
LIST = "/api/questions"


class Person(Caller):
    def answer(self, task, data, step="refund/approved"):
        return self.post(f"/api/tasks/{task.pk}/answer", {"step": step, "data": data})

    def steps(self):
        return [question["step"] for question in self.get(LIST).json()["questions"]]


@pytest.fixture
def task():
    created = refund.enqueue(7)
    work()
    return created


def test_an_assignee_lists_and_answers_a_question(task):
    anna = Person("anna")

    (question,) = anna.get(LIST).json()["questions"]
    answered = anna.answer(task, {"approved": True})

    assert question["schema"]["properties"].keys() == {"order", "approved", "amount"}
    assert {name: question[name] for name in ("task", "pipeline", "step", "question", "assignees", "given")} == {
        "task": str(task.pk),
        "pipeline": "ask/refund",
        "step": "refund/approved",
        "question": "Refund order 7?",
        "assignees": ["anna", "group:finance"],
        "given": {"order": 7},
    }
    assert question["asked_at"] < question["until"]
    assert (answered.status_code, answered.json()["answered_by"]) == (200, "anna")
    work()
    assert Task.objects.get(pk=task.pk).result == "True 10"
    assert anna.steps() == []
    assert LogEntry.objects.get().user.username == "anna"


def test_a_member_of_the_group_may_answer_and_others_may_not(task):
    member, other = Person("bob"), Person("carl", "view_task")
    User.objects.get(username="bob").groups.add(Group.objects.create(name="finance"))

    refused = other.answer(task, {"approved": True})
    assert problem_of(refused) == (403, "not-permitted", [])
    assert "anna, group:finance" in refused.json()["detail"]
    assert "taskqueue.retry_task" in refused.json()["detail"]
    assert (member.steps(), other.steps()) == (["refund/approved"], [])
    assert member.answer(task, {"approved": False}).status_code == 200


def test_a_user_who_may_retry_the_pipelines_tasks_may_answer(task):
    granted, denied = Person("dora", "retry_task"), Person("emil", "retry_task")
    PipelinePermission.objects.create(pipeline_id="ask/refund", user=User.objects.get(username="dora"), retry=True)

    assert (granted.steps(), denied.steps()) == (["refund/approved"], [])
    assert problem_of(denied.answer(task, {"approved": True}))[:2] == (403, "not-permitted")
    assert granted.answer(task, {"approved": True}).status_code == 200


def test_a_token_answers_for_its_user(task):
    user = User.objects.create_user("anna")
    _token, secret = tokens.issue(user, name="bot")

    response = Api().post(
        f"/api/tasks/{task.pk}/answer",
        {"step": "refund/approved", "data": {"approved": True}},
        Authorization=f"Bearer {secret}",
    )

    assert (response.status_code, response.json()["answered_by"]) == (200, "anna")


def test_a_caller_without_a_login_is_refused(task):
    api = Api(REMOTE_ADDR="192.0.2.1")

    assert problem_of(api.get(LIST))[:2] == (401, "login-required")
    assert problem_of(api.post(f"/api/tasks/{task.pk}/answer", {"step": "a", "data": 1}))[:2] == (401, "login-required")


def test_refusals_have_stable_codes(task):
    anna = Person("anna")

    assert problem_of(anna.answer(task, {}, step="other")) == (404, "question-not-found", [])
    assert problem_of(anna.answer(Task(), {})) == (404, "task-not-found", [])
    assert problem_of(anna.answer(task, {"approved": "what"})) == (422, "invalid-answer", ["/data/approved"])
    assert problem_of(anna.answer(task, {"approved": True, "order": 8})) == (422, "invalid-answer", ["/data/order"])
    assert anna.answer(task, {"approved": True}).status_code == 200
    assert problem_of(anna.answer(task, {"approved": True})) == (409, "question-already-answered", [])


def test_a_question_past_its_timeout_is_neither_listed_nor_answered(task):
    anna = Person("anna")
    advance(days=1)

    assert anna.steps() == []
    assert problem_of(anna.answer(task, {"approved": True})) == (409, "question-closed", [])


def test_the_list_is_paged(task):
    refund.enqueue(8)
    work()
    anna = Person("anna")

    first = anna.get(LIST, limit=1).json()
    second = anna.get(LIST, limit=1, cursor=first["next_cursor"]).json()

    assert [page["questions"][0]["question"] for page in (first, second)] == ["Refund order 8?", "Refund order 7?"]
    assert anna.get(LIST, limit=1, cursor=second["previous_cursor"]).json()["questions"] == first["questions"]


def test_the_tasks_waits_name_question_and_answer(task):
    anna = Person("anna", "view_task")
    anna.answer(task, {"approved": True})

    (wait,) = anna.get(f"/api/tasks/{task.pk}").json()["waits"]

    assert (wait["outcome"], wait["answered_by"], wait["resolved_by"]) == ("answer", "anna", None)
    assert (wait["question"], wait["assignees"]) == ("Refund order 7?", ["anna", "group:finance"])
