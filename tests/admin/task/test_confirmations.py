"""Retry and rerun of more than one step: first a page that names what runs again, then the deed."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry

from taskqueue import Permanent, pipeline, step
from taskqueue.models import Task
from taskqueue.testing import work
from tests.support.admin_pages import LIST, button_of, messages_of, page_of, text_of
from tests.support.users import client_of


@step
def charge(number: int) -> int:
    return number


@step.atomic
def book(number: int) -> int:
    return number


@step
def ship(number: int) -> int:
    if number < 0:
        raise Permanent("no such address")
    return number


def book_in_helper(number: int) -> int:
    return book(number)


@pipeline("admin/parcel")
def parcel(number: int) -> int:
    charge(number)
    charge(number + 1)
    book_in_helper(number)
    return ship(number)


@pytest.fixture
def undelivered() -> Task:
    task = parcel.enqueue(-1)
    work()
    return Task.objects.get(pk=task.pk)


def reload(task: Task) -> str:
    return Task.objects.get(pk=task.pk).status


@pytest.mark.parametrize(
    ("noun", "query"), [("rerun", {}), ("retry", {"from_step": "charge#2"})], ids=["rerun", "retry"]
)
def test_one_click_does_nothing_but_ask(operator, undelivered, noun, query):
    response = operator.post(button_of(undelivered, noun), query, follow=True)

    assert response.redirect_chain[0][0].startswith(button_of(undelivered, noun))
    assert response.status_code == 200
    assert reload(undelivered) == "failed"
    assert Task.objects.filter(pipeline="admin/parcel").count() == 1
    assert not LogEntry.objects.exists()


def test_a_rerun_names_each_step_and_which_are_not_atomic(operator, undelivered):
    text = text_of(operator.get(button_of(undelivered, "rerun")))

    assert "Rerun admin/parcel?" in text
    assert "These 4 steps run again charge (2 calls) not atomic book atomic ship not atomic" in text
    assert "may happen a second time: charge, ship." in text


def test_a_rerun_of_a_task_that_never_began_names_what_its_code_calls(operator):
    task = parcel.enqueue(1)

    assert "charge not atomic ship not atomic" in text_of(operator.get(button_of(task, "rerun")))


def test_a_retry_from_a_step_names_what_runs_again_and_no_other(operator, undelivered):
    text = text_of(operator.get(button_of(undelivered, "retry"), {"from_step": "book"}))

    assert "Retry admin/parcel from book?" in text
    assert "These 2 steps run again book atomic ship not atomic" in text
    assert "charge" not in text


def test_what_was_confirmed_is_done(operator, undelivered):
    operator.post(button_of(undelivered, "retry"), {"from_step": "charge", "confirmed": "1"})
    assert reload(undelivered) == "queued"

    response = operator.post(button_of(undelivered, "rerun"), {"confirmed": "1"}, follow=True)
    assert response.redirect_chain == [(page_of(Task.objects.get(rerun_of=undelivered)), 302)]


def test_a_retry_of_one_step_is_one_click(operator, undelivered):
    assert f'action="{button_of(undelivered, "retry")}"' in operator.get(page_of(undelivered)).content.decode()

    operator.post(button_of(undelivered, "retry"))

    assert reload(undelivered) == "queued"


def test_the_page_says_when_the_task_has_moved_on(operator, undelivered):
    operator.post(button_of(undelivered, "retry"))

    text = text_of(operator.get(button_of(undelivered, "retry"), {"from_step": "charge"}))

    assert "The task is queued; only an ended task can be retried." in text
    assert "Retry the task" not in text


@pytest.mark.parametrize("noun", ["retry", "rerun"])
def test_the_page_is_for_those_who_may_do_it(client, viewer, stranger, operator, undelivered, noun):
    address = button_of(undelivered, noun)

    assert client.get(address).url.startswith("/admin/login/")
    assert viewer.get(address).status_code == stranger.get(address).status_code == 403
    assert client_of("bert", "retry_task", "add_task").get(address).status_code == 403
    assert operator.get(address.replace(str(undelivered.pk), "nonsense"), follow=True).redirect_chain == [(LIST, 302)]
    assert operator.get(address, {"from_step": "n\0ne"}, follow=True).status_code == 200


@pytest.mark.parametrize("verb", ["retry", "rerun"])
def test_of_ticked_tasks_it_names_what_runs_again_by_pipeline(operator, undelivered, failed, verb):
    ticked = {"action": f"{verb}_selected", "_selected_action": [str(undelivered.pk), str(failed.pk)]}

    asked = operator.post(f"{LIST}?status=failed", ticked)
    text = text_of(asked)
    assert f"{verb.capitalize()} 2 tasks?" in text
    assert "admin/parcel: 1 task" in text
    assert "demo/task: 1 task" in text
    assert ("charge (2 calls) not atomic" in text) == (verb == "rerun")
    assert not LogEntry.objects.exists()

    done = operator.post(f"{LIST}?status=failed", {**ticked, "confirmed": "1"}, follow=True)
    assert messages_of(done) == [f"2 tasks {'retried' if verb == 'retry' else 'rerun'}."]


def test_of_one_ticked_task_whose_retry_runs_one_step_nothing_is_asked(operator, undelivered):
    operator.post(LIST, {"action": "retry_selected", "_selected_action": [str(undelivered.pk)]})

    assert reload(undelivered) == "queued"
