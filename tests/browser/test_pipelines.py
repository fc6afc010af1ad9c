"""Pipelines in the browser: submit, pause, change limits."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from demo.pipelines import DemoRequest, demo_task
from taskqueue.models import Task
from tests.support.browser.screens import PIPELINE_PERMISSIONS
from tests.support.browser.sign_in import sign_in
from tests.support.browser.workers import work

PIPELINES = "/admin/taskqueue/pipeline/"


@pytest.fixture
def keeper(page: Page, context: BrowserContext, base_url: str, transactional_db: None) -> Page:
    """A page of a user with the permissions for pipelines."""
    sign_in(context, base_url, "dana", *PIPELINE_PERMISSIONS)
    return page


def test_submits_a_task_after_correcting_an_error(keeper: Page):
    keeper.goto(PIPELINES)
    keeper.get_by_role("link", name="Submit a task of demo/task").click()
    keeper.get_by_label("Label", exact=True).fill("by hand")
    keeper.get_by_label("Delay seconds").fill("soon")
    keeper.get_by_text("Key, priority, time and labels").click()
    keeper.get_by_label("Labels").fill("tenant = acme")
    keeper.get_by_role("button", name="Submit the task").click()

    expect(keeper.get_by_role("alert")).to_contain_text("The task was not submitted.")
    invalid = keeper.locator(".tq-invalid")
    expect(invalid).to_have_count(1)
    expect(invalid).to_contain_text("Input should be a valid number, unable to parse string as a number")
    expect(keeper.get_by_label("Delay seconds")).to_have_value("soon")
    expect(keeper.get_by_label("Label", exact=True)).to_have_value("by hand")
    expect(keeper.get_by_label("Labels")).to_have_value("tenant = acme")

    keeper.get_by_label("Delay seconds").fill("0")
    keeper.get_by_label("Failures before success").fill("0")
    keeper.get_by_role("button", name="Submit the task").click()

    expect(keeper.locator(".messagelist")).to_contain_text("The task is submitted.")
    expect(keeper.locator(".tq-head .tq-badge")).to_have_text("Queued")
    expect(keeper.locator(".tq-history")).to_contain_text("dana Submitted by form.")
    work()
    assert Task.objects.values_list("status", "labels").get() == ("succeeded", {"tenant": "acme"})


def test_a_live_refresh_keeps_a_typed_limit(keeper: Page):
    keeper.goto(f"{PIPELINES}demo_2Ftask/change/")
    limit = keeper.get_by_label("Tasks", exact=True)
    limit.fill("7")
    limit.blur()
    keeper.get_by_role("switch").focus()

    demo_task.enqueue(DemoRequest(label="new", delay_seconds=0))

    expect(keeper.locator(".tq-details").first).to_contain_text("In queue 1", use_inner_text=True)
    expect(limit).to_have_value("7")
    expect(keeper.get_by_role("switch")).to_be_focused()


def test_pauses_a_pipeline_for_a_reason_and_resumes_it(keeper: Page):
    task = demo_task.enqueue(DemoRequest(label="waits", delay_seconds=0))
    keeper.goto(PIPELINES)
    switch = keeper.get_by_role("switch", name="demo/task is running")
    expect(switch).to_be_checked()
    switch.click()
    keeper.get_by_label("Reason").fill("they migrate the database")
    keeper.get_by_role("button", name="Pause").click()

    expect(switch).not_to_be_checked()
    expect(keeper.locator("#result_list")).to_contain_text("paused by dana: they migrate the database")
    work()
    keeper.goto(f"/admin/taskqueue/task/{task.pk}/change/")
    expect(keeper.get_by_text("Pipeline demo/task was paused by dana")).to_be_visible()
    assert Task.objects.get().status == "queued"

    keeper.goto(f"{PIPELINES}demo_2Ftask/change/")
    keeper.get_by_role("switch").click()
    expect(keeper.locator(".messagelist")).to_contain_text("Pipeline demo/task is running again.")
    expect(keeper.locator(".tq-history").last).to_contain_text("Paused: they migrate the database")
    work()
    assert Task.objects.get().status == "succeeded"


def test_pausing_shifts_no_column(keeper: Page):
    def columns() -> list[float]:
        # All at once: a live refresh may replace the list between two reads.
        heads = keeper.locator("#result_list thead th")
        return list(heads.evaluate_all("heads => heads.map(head => head.getBoundingClientRect().x)"))

    keeper.set_viewport_size({"width": 1440, "height": 900})
    keeper.goto(PIPELINES)
    before = columns()
    keeper.get_by_role("switch", name="demo/task is running").click()
    keeper.get_by_label("Reason").fill(
        "a reason that is so long that it would widen any column that gave way to it " * 2
    )
    keeper.get_by_role("button", name="Pause").click()
    expect(keeper.get_by_role("switch", name="demo/task is running")).not_to_be_checked()

    assert columns() == before


def test_changes_a_limit_in_place(keeper: Page):
    keeper.goto(f"{PIPELINES}demo_2Ftask/change/")
    keeper.get_by_label("Tasks", exact=True).fill("0")
    keeper.get_by_role("button", name="Change the limits").click()
    expect(keeper.locator(".tq-invalid")).to_contain_text("A limit is 1 to 100,000; to stop all, pause.")

    keeper.get_by_label("Tasks", exact=True).fill("3")
    keeper.get_by_role("button", name="Change the limits").click()

    expect(keeper.locator(".tq-details").first).to_contain_text("0 of 3")
    expect(keeper.locator(".tq-history").last).to_contain_text("dana Changed tasks from the limit in code to 3.")
