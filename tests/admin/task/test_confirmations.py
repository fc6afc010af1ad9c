"""A retry or rerun of several steps asks for confirmation on a page that lists them."""

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
    ("action", "query"), [("rerun", {}), ("retry", {"from_step": "charge#2"})], ids=["rerun", "retry"]
)
def test_one_click_only_asks_for_confirmation(operator, undelivered, action, query):
    response = operator.post(button_of(undelivered, action), query, follow=True)

    assert response.redirect_chain[0][0].startswith(button_of(undelivered, action))
    assert response.status_code == 200
    assert reload(undelivered) == "failed"
    assert Task.objects.filter(pipeline="admin/parcel").count() == 1
    assert not LogEntry.objects.exists()


def test_a_rerun_lists_its_steps_and_marks_unsafe_ones(operator, undelivered):
    text = text_of(operator.get(button_of(undelivered, "rerun")))

    assert "Rerun admin/parcel?" in text
    assert "These 4 steps run again charge (2 calls) not atomic book atomic ship not atomic" in text
    assert "may happen a second time: charge, ship." in text


def test_a_rerun_of_an_unstarted_task_lists_the_known_steps(operator):
    task = parcel.enqueue(1)

    assert "charge not atomic ship not atomic" in text_of(operator.get(button_of(task, "rerun")))


def test_a_retry_from_a_step_lists_only_repeated_steps(operator, undelivered):
    text = text_of(operator.get(button_of(undelivered, "retry"), {"from_step": "book"}))

    assert "Retry admin/parcel from book?" in text
    assert "These 2 steps run again book atomic ship not atomic" in text
    assert "charge" not in text


def test_a_confirmed_action_runs(operator, undelivered):
    operator.post(button_of(undelivered, "retry"), {"from_step": "charge", "confirmed": "1"})
    assert reload(undelivered) == "queued"

    response = operator.post(button_of(undelivered, "rerun"), {"confirmed": "1"}, follow=True)
    assert response.redirect_chain == [(page_of(Task.objects.get(rerun_of=undelivered)), 302)]


def test_a_retry_of_one_step_needs_no_confirmation(operator, undelivered):
    assert f'action="{button_of(undelivered, "retry")}"' in operator.get(page_of(undelivered)).content.decode()

    operator.post(button_of(undelivered, "retry"))

    assert reload(undelivered) == "queued"


def test_the_confirmation_refuses_a_task_that_is_queued_again(operator, undelivered):
    operator.post(button_of(undelivered, "retry"))

    text = text_of(operator.get(button_of(undelivered, "retry"), {"from_step": "charge"}))

    assert "The task is queued; only an ended task can be retried." in text
    assert "Retry the task" not in text


@pytest.mark.parametrize("action", ["retry", "rerun"])
def test_the_confirmation_needs_permission(client, viewer, stranger, operator, undelivered, action):
    address = button_of(undelivered, action)

    assert client.get(address).url.startswith("/admin/login/")
    assert viewer.get(address).status_code == stranger.get(address).status_code == 403
    assert client_of("bert", "retry_task", "add_task").get(address).status_code == 403
    assert operator.get(address.replace(str(undelivered.pk), "nonsense"), follow=True).redirect_chain == [(LIST, 302)]
    assert operator.get(address, {"from_step": "n\0ne"}, follow=True).status_code == 200


@pytest.mark.parametrize("verb", ["retry", "rerun"])
def test_the_bulk_confirmation_lists_repeated_steps_by_pipeline(operator, undelivered, failed, verb):
    form = {"action": f"{verb}_selected", "_selected_action": [str(undelivered.pk), str(failed.pk)]}

    response = operator.post(f"{LIST}?status=failed", form)
    text = text_of(response)
    assert f"{verb.capitalize()} 2 tasks?" in text
    assert "admin/parcel: 1 task" in text
    assert "demo/task: 1 task" in text
    assert ("charge (2 calls) not atomic" in text) == (verb == "rerun")
    assert not LogEntry.objects.exists()

    done = operator.post(f"{LIST}?status=failed", {**form, "confirmed": "1"}, follow=True)
    assert messages_of(done) == [f"2 tasks {'retried' if verb == 'retry' else 'rerun'}."]


def test_a_bulk_retry_of_one_step_needs_no_confirmation(operator, undelivered):
    operator.post(LIST, {"action": "retry_selected", "_selected_action": [str(undelivered.pk)]})

    assert reload(undelivered) == "queued"
