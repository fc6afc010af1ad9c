"""Answer links: a person without a login answers once, by a signed address that shows only the question."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from taskqueue import answer_link, pipeline, step, wait_for
from taskqueue.engine.access.answer_links import AnswerLink, address_of
from taskqueue.engine.actions.answers import answer, find_question
from taskqueue.engine.events.send import send
from taskqueue.engine.tasks import control
from taskqueue.errors import InvalidContext
from taskqueue.models import Task, Wait
from taskqueue.testing import advance, work
from tests.support.admin_pages import text_of
from tests.support.pipelines.refunds import Approval, refund

pytestmark = pytest.mark.django_db
BASE = "https://tasks.example.com"


@pytest.fixture(autouse=True)
def public_url(settings):
    settings.TASKQUEUE = {**settings.TASKQUEUE, "PUBLIC_URL": f"{BASE}/"}


@pytest.fixture
def task():
    created = refund.enqueue(7, "a secret customer")
    work()
    return created


@pytest.fixture
def visitor():
    return Client(enforce_csrf_checks=True)


def path_of(task, *, to="bob@example.org", wait="refund/approved"):
    return address_of(AnswerLink(task=task.pk, wait=wait, to=to)).removeprefix(BASE)


def post(visitor, path, **values):
    """Send the form of a page, with its CSRF token."""
    form = visitor.get(path).content.decode()
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
    data = {f"payload/{name}": value for name, value in values.items()}
    return visitor.post(path, {**data, "csrfmiddlewaretoken": found[1] if found else ""})


def test_a_person_answers_by_the_link_once(task, visitor):
    path = path_of(task)
    shown = visitor.get(path)
    answered = post(visitor, path, approved="on", amount="20")

    assert shown.status_code == 200
    assert "Refund order 7?" in text_of(shown)
    assert "a secret customer" not in shown.content.decode()
    assert str(task.pk) not in shown.content.decode()
    assert (answered.status_code, answered["Location"]) == (302, path)
    assert "The question was answered already by bob@example.org at" in text_of(visitor.get(path))
    work()
    assert Task.objects.get(pk=task.pk).result == "True 20"
    assert Wait.objects.get().answered_by == "bob@example.org"


def test_opening_the_link_answers_nothing(task, visitor):
    for method in (visitor.get, visitor.head):
        assert method(path_of(task)).status_code == 200

    assert Wait.objects.get().outcome == ""
    assert Client().put(path_of(task)).status_code == 405


def test_the_form_needs_its_csrf_token(task, visitor):
    assert visitor.post(path_of(task), {"payload/approved": "on"}).status_code == 403
    assert Wait.objects.get().outcome == ""


def test_the_page_is_neither_stored_nor_indexed_nor_framed(task, visitor):
    response = visitor.get(path_of(task))

    assert response["Cache-Control"] == "no-store"
    assert response["Referrer-Policy"] == "same-origin"
    assert response["X-Robots-Tag"] == "noindex, nofollow"
    assert response["X-Frame-Options"] == "DENY"


def test_an_invalid_answer_comes_back_with_its_errors(task, visitor):
    response = post(visitor, path_of(task), amount="101")

    assert response.status_code == 422
    assert "Input should be less than or equal to 100" in text_of(response)
    assert Wait.objects.get().outcome == ""


def test_the_second_answer_is_refused_and_names_the_first(task, visitor):
    path = path_of(task)
    form = visitor.get(path).content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)[1]
    answer(find_question(task.pk, "refund/approved"), {"approved": False}, by="anna")

    response = visitor.post(path, {"csrfmiddlewaretoken": token, "payload/approved": "on"})

    assert response.status_code == 409
    assert "answered already by anna" in text_of(response)
    assert Wait.objects.get().answered_by == "anna"


def test_a_link_says_before_the_wait_and_after_its_end_that_it_takes_no_answer(visitor):
    task = refund.enqueue(7)
    path = path_of(task)

    early = visitor.get(path)
    assert (early.status_code, "has not been asked yet" in text_of(early)) == (404, True)
    work()
    advance(days=1)
    work()
    late = visitor.get(path)
    assert (late.status_code, "timed out at" in text_of(late)) == (410, True)


def test_a_link_of_a_cancelled_task_or_after_an_event_is_gone(task, visitor):
    other = refund.enqueue(8)
    work()
    send("refund/approved", {"order": 8})
    work()
    control.cancel(task.pk)

    assert "The task is cancelled" in text_of(visitor.get(path_of(task)))
    assert visitor.get(path_of(task)).status_code == 410
    assert "An event refund/approved came before the answer" in text_of(visitor.get(path_of(other)))


def test_a_changed_link_is_refused(task, visitor):
    path = path_of(task)

    for changed in (path[:-1], f"{path}x", "/api/answer/a:b", "/api/answer/a"):
        response = visitor.get(changed)
        assert (response.status_code, "This link is not valid" in text_of(response)) == (404, True)


def test_a_link_lasts_over_reminders_and_ends_with_the_first_answer(visitor):
    @pipeline("links/reminding")
    def reminding() -> list[object]:
        found = [
            wait_for("go", model=Approval, assignees=["anna"], question=f"Round {n}?", timeout=timedelta(hours=1))
            for n in range(3)
        ]
        return [each and each.amount for each in found]

    task = reminding.enqueue()
    work()
    advance(hours=1)
    work()
    path = path_of(task, wait="go")
    assert "Round 1?" in text_of(visitor.get(path))
    post(visitor, path, order="1", amount="5")
    work()

    assert Wait.objects.get(step_key="go#3").outcome == ""
    assert "answered already by bob@example.org" in text_of(visitor.get(path))


def test_body_and_step_make_the_same_link_each_time():
    links = []

    @step
    def mail() -> str:
        return answer_link("refund/approved", to="bob@example.org")

    @pipeline("links/made")
    def made() -> str:
        links.append(answer_link("refund/approved", to="bob@example.org"))
        mailed = mail()
        wait_for("refund/approved", model=Approval, assignees=["bob"], timeout=timedelta(days=1))
        return mailed

    task = made.enqueue()
    work()
    advance(days=1)
    work()

    task.refresh_from_db()
    assert {*links, task.result} == {BASE + path_of(task)}
    assert (len(links), task.drift) == (2, None)


def test_a_link_needs_a_task_valid_texts_and_the_setting(settings):
    with pytest.raises(InvalidContext, match="outside of a task"):
        answer_link("refund/approved", to="bob")
    for wait, to in (("", "bob"), ("a", " "), ("a" * 201, "bob"), ("a", "b\0")):
        with pytest.raises(ValueError, match=r"link|name of a wait"):
            answer_link(wait, to=to)
    settings.TASKQUEUE = {**settings.TASKQUEUE, "PUBLIC_URL": ""}
    with pytest.raises(ImproperlyConfigured, match="PUBLIC_URL"):
        address_of(AnswerLink(task=Task().pk, wait="a", to="b"))
    settings.TASKQUEUE = {**settings.TASKQUEUE, "PUBLIC_URL": "tasks.example.com"}
    with pytest.raises(ImproperlyConfigured, match="must begin with https://"):
        address_of(AnswerLink(task=Task().pk, wait="a", to="b"))
