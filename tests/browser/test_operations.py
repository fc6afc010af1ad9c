"""Bulk operations in the browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from demo.pipelines import DemoRequest, demo_task
from taskqueue.admin.bulk_operations import confirm
from taskqueue.models import BulkOperation, Task
from tests.support.browser.actions import run_action
from tests.support.browser.workers import work

LIST = "/admin/taskqueue/task/"


@pytest.fixture
def three_failed(transactional_db: None) -> None:
    """Three failed tasks and one that succeeded."""
    for number in range(3):
        demo_task.enqueue(DemoRequest(label=f"broken {number}", delay_seconds=0, simulate_failure=True))
    demo_task.enqueue(DemoRequest(label="fine", delay_seconds=0))
    work()


@pytest.mark.usefixtures("three_failed")
def test_retries_a_filtered_list_and_watches_the_progress(operator: Page, monkeypatch):
    monkeypatch.setattr(confirm, "LARGE", 2)
    operator.goto(LIST)
    operator.get_by_role("link", name=re.compile("^Failed")).click()
    operator.get_by_role("link", name="Retry all that match…").click()

    expect(operator.locator("h1")).to_have_text("Retry 3 tasks")
    operator.get_by_label("Reason").fill("the API is back")
    operator.get_by_label("Type retry to confirm").fill("rerun")
    operator.get_by_role("button", name="Retry 3 tasks").click()
    expect(operator.locator(".errorlist")).to_contain_text("Type retry to confirm that you mean 3 tasks.")

    operator.get_by_label("Type retry to confirm").fill("retry")
    operator.get_by_role("button", name="Retry 3 tasks").click()
    expect(operator.locator(".tq-progress")).to_contain_text("0 of 3 tasks processed")
    work()
    operator.reload()
    expect(operator.locator(".tq-progress .tq-badge")).to_have_text("Done")
    expect(operator.locator(".tq-progress")).to_contain_text("3 of 3 tasks processed: 3 retried")
    expect(operator.get_by_text("the API is back")).to_be_visible()


@pytest.mark.usefixtures("three_failed")
def test_the_list_of_operations_shows_live_progress(operator: Page):
    operator.goto(f"{LIST}?status=failed")
    operator.get_by_role("link", name="Retry all that match…").click()
    operator.get_by_role("button", name="Retry 3 tasks").click()
    operator.goto("/admin/taskqueue/bulkoperation/")
    expect(operator.locator("#result_list")).to_contain_text("0 of 3 tasks processed")

    work()

    expect(operator.locator("#result_list")).to_contain_text("3 of 3 tasks processed: 3 retried")
    expect(operator.locator("button.tq-live")).to_have_text("Live")


@pytest.mark.usefixtures("three_failed")
def test_aborts_an_operation_before_it_is_done(operator: Page):
    operator.goto(f"{LIST}?status=failed")
    operator.get_by_role("link", name="Retry all that match…").click()
    operator.get_by_role("button", name="Retry 3 tasks").click()
    operator.get_by_role("button", name="Abort").click()

    expect(operator.locator(".messagelist")).to_contain_text("The operation is aborted, after 0 tasks.")
    expect(operator.get_by_role("button", name="Abort")).to_have_count(0)
    work()
    assert Task.objects.filter(status="failed").count() == 3
    assert BulkOperation.objects.get().status == "aborted"


@pytest.mark.usefixtures("three_failed")
@pytest.mark.parametrize("width", [390, 1000, 1440])
def test_actions_are_hidden_until_a_row_is_selected(operator: Page, width):
    operator.set_viewport_size({"width": width, "height": 900})
    operator.goto(LIST)
    actions = operator.locator("#changelist-form .actions")
    expect(actions).to_be_hidden()

    operator.locator(".action-select").first.check()

    expect(actions).to_be_visible()


@pytest.mark.usefixtures("three_failed")
def test_selecting_all_pages_leads_to_the_confirmation(operator: Page, monkeypatch):
    monkeypatch.setattr("taskqueue.admin.shared.models.ReadOnlyAdmin.list_per_page", 2)
    operator.goto(f"{LIST}?status=failed")
    operator.locator("#action-toggle").check()
    operator.get_by_role("button", name="Select all 3 tasks").click()
    run_action(operator, "retry_selected")

    expect(operator.locator("h1")).to_have_text("Retry 3 tasks")


@pytest.mark.usefixtures("three_failed")
def test_misspells_a_qualifier_and_corrects_it(operator: Page):
    operator.goto(f"{LIST}?status=failed")
    operator.get_by_role("combobox", name="Search").fill("eror:Permanent")
    operator.keyboard.press("Enter")
    expect(operator.get_by_role("alert")).to_contain_text("There is no qualifier eror:. Did you mean error:?")

    operator.get_by_role("combobox", name="Search").fill("error:Permanent")
    operator.keyboard.press("Enter")

    expect(operator.locator("#result_list tbody tr")).to_have_count(3)
