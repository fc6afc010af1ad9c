"""Each confirmation page of the admin, once cancelled and once confirmed."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from demo.pipelines import DemoRequest, demo_task
from taskqueue.models import Task
from tests.support.browser.actions import run_action
from tests.support.browser.workers import work

LIST = "/admin/taskqueue/task/"


@pytest.fixture
def failed(transactional_db: None) -> Task:
    task = demo_task.enqueue(DemoRequest(label="broken", delay_seconds=0, simulate_failure=True))
    work()
    return task


def test_rerun_and_retry_ask_and_name_steps_that_are_not_atomic(operator: Page, failed: Task) -> None:
    operator.goto(f"{LIST}{failed.pk}/change/")
    operator.get_by_role("link", name="Rerun", exact=True).click()
    expect(operator.get_by_role("heading", name="Rerun demo/task?")).to_be_visible()
    expect(operator.locator(".tq-repeats li", has_text="simulate-api-call")).to_contain_text("not atomic")
    operator.get_by_role("link", name="Back").click()
    assert Task.objects.count() == 1

    operator.locator("#step-1 > summary").click()
    operator.get_by_role("button", name="Retry from “simulate-processing”").click()
    expect(operator.locator(".tq-repeats li")).to_have_count(3)
    operator.get_by_role("button", name="Retry the task").click()
    expect(operator.locator(".messagelist")).to_contain_text("queued again, from step simulate-processing")

    operator.get_by_role("link", name="Rerun", exact=True).click()
    operator.get_by_role("button", name="Create task").click()
    expect(operator.locator(".tq-details")).to_contain_text("Rerun of")


def test_selected_tasks_are_rerun_after_a_confirmation(operator: Page, failed: Task) -> None:
    operator.goto(LIST)
    operator.locator("#action-toggle").check()
    run_action(operator, "rerun_selected")
    expect(operator.get_by_role("heading", name="Rerun 1 task?")).to_be_visible()
    operator.get_by_role("button", name="Rerun 1 task").click()

    expect(operator.locator(".messagelist")).to_contain_text("1 task rerun.")
