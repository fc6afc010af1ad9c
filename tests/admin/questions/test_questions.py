"""Waiting for you: the list, the form, the navigation's badge, and the button on the task's page."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from pydantic import BaseModel

from taskqueue import pipeline, wait_for
from taskqueue.admin import navigation
from taskqueue.engine.actions.answers import answer, find_question
from taskqueue.engine.queries import stats
from taskqueue.models import Question, Task
from taskqueue.testing import advance, work
from tests.support.admin_pages import messages_of, text_of
from tests.support.pipelines.refunds import refund
from tests.support.users import client_of

pytestmark = pytest.mark.django_db
LIST = "/admin/taskqueue/question/"


@pytest.fixture
def task():
    created = refund.enqueue(7, "a secret customer")
    work()
    return created


@pytest.fixture
def anna():
    return client_of("anna")


def page_of(task):
    return f"{LIST}{Question.objects.get(task=task).pk}/change/"


def nav_of(response):
    found = re.findall(r'<ul class="tq-nav".*?</ul>', response.content.decode(), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", found[0]).split()) if found else ""


def test_an_assignee_finds_and_answers_the_question(anna, task):
    listed = text_of(anna.get(LIST))
    form = anna.get(page_of(task)).content.decode()
    answered = anna.post(page_of(task), {"payload/approved": "on", "payload/amount": "20"}, follow=True)

    assert "Waiting for you" in listed
    assert "Refund order 7? ask/refund anna, group:finance just now" in listed
    assert re.search(r'<input[^>]*name="payload/order"[^>]*value="7"[^>]*disabled', form)
    assert "a secret customer" not in form + listed
    assert messages_of(answered) == ["Your answer counts: the task continues."]
    assert "No question waits for you." in text_of(answered)
    work()
    assert Task.objects.get(pk=task.pk).result == "True 20"
    assert LogEntry.objects.get().get_change_message() == "Answered refund/approved."


def test_what_the_form_fixes_cannot_be_changed(anna, task):
    anna.post(page_of(task), {"payload/order": "8", "payload/amount": ""})
    work()

    assert Task.objects.get(pk=task.pk).result == "False 10"


def test_what_the_form_fixes_keeps_its_type(anna):
    class Price(BaseModel):
        amount: Decimal
        approved: bool

    @pipeline("ask/price")
    def price() -> str:
        found = wait_for(
            "price/approved",
            match={"amount": 7.5},
            model=Price,
            assignees=["anna"],
            timeout=timedelta(days=1),
        )
        return f"{found and found.amount}"

    task = price.enqueue()
    work()
    anna.post(page_of(task), {"payload/approved": "on"})
    work()

    assert Task.objects.get(pk=task.pk).result == "7.5"


def test_a_users_name_does_not_stand_for_a_group(task):
    impostor = client_of("group:finance")

    assert "No question waits for you." in text_of(impostor.get(LIST))
    assert impostor.get(page_of(task)).status_code == 403


def test_an_invalid_answer_comes_back_with_its_errors(anna, task):
    response = anna.post(page_of(task), {"payload/amount": "101"})

    assert "The answer was not saved." in text_of(response)
    assert "Input should be less than or equal to 100" in text_of(response)
    assert 'value="101"' in response.content.decode()
    assert Question.objects.get().outcome == ""


def test_others_find_no_question_and_are_refused(task):
    other = client_of("carl", "view_task")

    assert "No question waits for you." in text_of(other.get(LIST))
    refused = other.get(page_of(task))
    assert refused.status_code == 403
    assert "You are not an assignee of this question (anna, group:finance)" in text_of(refused)
    assert other.post(page_of(task), {"payload/approved": "on"}).status_code == 403
    assert Question.objects.get().outcome == ""


def test_the_second_of_two_answers_reads_who_was_first(anna, task):
    answer(find_question(task.pk, "refund/approved"), {"approved": True}, by="bob")

    assert "The question was answered already by bob at" in text_of(anna.post(page_of(task), {"payload/amount": "1"}))
    shown = anna.get(page_of(task))
    assert "answered already by bob" in text_of(shown)
    assert '<form method="post" novalidate' not in shown.content.decode()


def test_a_timed_out_question_says_so_and_is_not_listed(anna, task):
    advance(days=1)
    work()

    assert "The question timed out at" in text_of(anna.get(page_of(task)))
    assert "No question waits for you." in text_of(anna.get(LIST))


@pytest.mark.parametrize("key", ["0", "x", "9" * 30, "1_2"])
def test_a_question_that_does_not_exist_leads_to_the_list(anna, key):
    response = anna.get(f"{LIST}{key}/change/", follow=True)

    assert messages_of(response) == ["There is no such question. Its task may have been retried or pruned."]


def test_the_badge_counts_only_what_the_user_may_answer(anna, task, monkeypatch):
    monkeypatch.setattr(navigation, "badge_counts", stats.badge_counts)
    refund.enqueue(8)
    work()
    member, viewer, repairer = client_of("bob"), client_of("carl", "view_task"), client_of("dora", "retry_task")
    User.objects.get(username="bob").groups.add(Group.objects.create(name="finance"))

    for client in (anna, member, repairer):
        assert "Waiting for you 2" in nav_of(client.get(LIST))
    assert "Waiting for you" not in nav_of(viewer.get("/admin/taskqueue/task/"))


def test_the_badge_costs_no_further_query_while_no_question_is_open(
    admin_client, django_assert_num_queries, monkeypatch
):
    monkeypatch.setattr(navigation, "badge_counts", stats.badge_counts)
    admin_client.get(LIST)
    with django_assert_num_queries(5):  # session, user, count and rows of the list, badges
        response = admin_client.get(LIST)

    assert "Waiting for you" in nav_of(response)


def test_the_tasks_page_has_the_question_and_a_button_for_those_who_may_answer(task):
    assignee, viewer = client_of("anna", "view_task"), client_of("carl", "view_task")
    page = f"/admin/taskqueue/task/{task.pk}/change/"

    assert "Refund order 7? Asked of anna, group:finance. Answer" in text_of(assignee.get(page))
    assert f'href="{page_of(task)}"' in assignee.get(page).content.decode()
    shown = viewer.get(page)
    assert "Refund order 7? Asked of anna, group:finance." in text_of(shown)
    assert page_of(task) not in shown.content.decode()
