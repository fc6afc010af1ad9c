"""The overview in the browser."""

from __future__ import annotations

import re

import pytest
from django.core.cache import cache
from playwright.sync_api import Page, expect

from demo.pipelines import DemoRequest, demo_task
from taskqueue.engine.maintenance.rollups import roll_up
from taskqueue.models import Task
from taskqueue.testing import advance
from tests.support.browser.workers import work

HOME = "/admin/"


@pytest.fixture(autouse=True)
def _empty_cache():
    """The overview is cached for two seconds."""
    cache.clear()


@pytest.fixture
def ended_tasks(transactional_db: None) -> None:
    """Two failed tasks and one that succeeded, rolled up."""
    for number in range(2):
        demo_task.using(key=f"bad-{number}").enqueue(
            DemoRequest(label="broken", delay_seconds=0, simulate_failure=True)
        )
    demo_task.enqueue(DemoRequest(label="fine", delay_seconds=0))
    work()
    advance(minutes=10)
    roll_up()


def test_a_failure_group_leads_to_its_tasks_and_its_last_task(operator: Page, ended_tasks):
    operator.goto(HOME)
    attention = operator.get_by_role("region", name="Needs attention")
    expect(attention).to_contain_text("Permanent in demo/task")

    attention.get_by_role("link", name="2", exact=True).click()
    expect(operator.locator("#result_list tbody tr")).to_have_count(2)
    expect(operator.get_by_role("link", name="Tasks", exact=True).first).to_be_visible()

    operator.go_back()
    attention.get_by_role("link", name="simulated failure").click()
    expect(operator.locator(".tq-head .tq-badge")).to_have_text("Failed")


def test_a_bar_leads_to_the_tasks_of_its_period(operator: Page, ended_tasks):
    operator.goto(HOME)
    bar = operator.locator(".tq-chart a", has=operator.locator("rect.tq-hue-red"))
    expect(bar.locator("title")).to_contain_text("1 succeeded, 2 failed")

    bar.click()

    expect(operator.locator("#result_list tbody tr")).to_have_count(3)
    expect(operator.locator(".tq-filter.tq-active")).to_contain_text("UTC")


def test_the_chart_table_leads_to_tasks_by_keyboard(operator: Page, ended_tasks):
    operator.goto(HOME)
    operator.get_by_text("Both charts as a table").focus()
    operator.keyboard.press("Enter")
    operator.keyboard.press("Tab")  # the table, which can be scrolled
    operator.keyboard.press("Tab")
    operator.keyboard.press("Enter")

    expect(operator.locator("#result_list tbody tr")).to_have_count(3)


def test_the_navigation_works_on_a_phone(operator: Page, ended_tasks):
    operator.set_viewport_size({"width": 390, "height": 844})
    operator.goto(HOME)

    assert operator.evaluate("document.documentElement.scrollWidth") == 390
    operator.get_by_role("navigation", name="Sidebar").get_by_role("link", name="Workers").click()
    expect(operator).to_have_url(re.compile(r"/admin/taskqueue/worker/$"))
    expect(operator.locator(".tq-nav [aria-current=page]")).to_contain_text("Workers")


def test_runs_the_example_task(operator: Page, transactional_db):
    operator.goto(HOME)
    expect(operator.get_by_role("heading", name="There are no tasks yet")).to_be_visible()

    operator.get_by_role("button", name="Run the example task").click()

    expect(operator.locator(".tq-head .tq-badge")).to_have_text("Queued")
    assert Task.objects.count() == 1
