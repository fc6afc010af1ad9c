"""The daily work of an operator: find, read, retry, cancel and edit tasks."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from demo.pipelines import DemoRequest, demo_task
from taskqueue.models import Step, Task
from tests.support.browser.actions import run_action
from tests.support.browser.workers import work

LIST = "/admin/taskqueue/task/"


def enqueue(label: str, **more: object) -> Task:
    return demo_task.enqueue(DemoRequest(label=label, delay_seconds=0, **more))  # type: ignore[arg-type]  # its own fields


@pytest.fixture
def failed(transactional_db: None) -> Task:
    """A failed task, and one that succeeded."""
    task = enqueue("broken", simulate_failure=True)
    enqueue("fine")
    work()
    return task


def test_finds_a_failed_task_and_retries_it_from_a_step(operator: Page, failed):
    operator.goto(LIST)
    expect(operator.locator(".tq-tab.tq-is-all .tq-count")).to_be_visible()
    operator.locator(".tq-tab", has_text="Failed").click()
    rows = operator.locator("#result_list tbody tr")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("Permanent simulated failure in simulate-api-call")

    rows.first.get_by_role("link").click()
    expect(operator.locator(".tq-head .tq-badge")).to_have_text("Failed")
    expect(operator.locator(".tq-project-code", has_text="fail_if_requested")).to_be_visible()
    expect(operator.locator("pre", has_text="Traceback (most recent call last)")).to_be_hidden()
    operator.get_by_text("Full traceback").click()
    expect(operator.locator("pre", has_text="Traceback (most recent call last)")).to_be_visible()
    expect(operator.get_by_text("Runs simulate-api-call again; keeps 2 earlier results.")).to_be_visible()

    operator.get_by_role("button", name="Retry from “simulate-api-call”").click()
    expect(operator.locator(".messagelist")).to_contain_text("The task is queued again, from step simulate-api-call.")
    expect(operator.locator(".tq-head .tq-badge")).to_have_text("Queued")
    expect(operator.locator(".tq-history")).to_contain_text("olga Retried from step simulate-api-call; it was failed.")

    work()
    operator.reload()
    expect(operator.locator(".tq-head .tq-badge")).to_have_text("Failed")
    expect(operator.locator("#step-3 .tq-attempts-table tbody tr")).to_have_count(2)


def test_cancels_a_queued_task_but_not_a_finished_one(operator: Page, transactional_db):
    unwanted = enqueue("unwanted")
    operator.goto(f"{LIST}{unwanted.pk}/change/")
    operator.get_by_role("button", name="Cancel").click()
    operator.get_by_label("Reason").fill("ordered twice")
    operator.get_by_role("button", name="Cancel the task").click()
    expect(operator.locator(".tq-head .tq-badge")).to_have_text("Cancelled")
    expect(operator.get_by_role("button", name="Cancel")).to_be_disabled()
    expect(operator.locator(".tq-history")).to_contain_text("olga Cancelled; it was queued. Reason: ordered twice")
    expect(operator.locator(".tq-details")).to_contain_text("ordered twice")

    quick = enqueue("quick")
    operator.goto(f"{LIST}{quick.pk}/change/")
    # The page does not update itself while the dialog is open.
    operator.get_by_role("button", name="Cancel").click()
    work()
    operator.get_by_role("button", name="Cancel the task").click()
    expect(operator.locator(".messagelist")).to_contain_text("Cannot cancel: the task is now succeeded.")
    expect(operator.locator(".tq-head .tq-badge")).to_have_text("Succeeded")


def test_retries_several_tasks_at_once(operator: Page, failed):
    operator.goto(LIST)
    operator.locator("#action-toggle").check()
    run_action(operator, "retry_selected")

    expect(operator.locator(".messagelist")).to_contain_text(
        "1 task retried. 1 task not retried: the task is now succeeded."
    )
    expect(operator.locator("#result_list tr", has_text=str(failed.pk)[-6:])).to_contain_text("Queued")


def test_a_viewer_sees_no_buttons_and_is_refused(viewer: Page, base_url, failed):
    viewer.goto(LIST)
    expect(viewer.locator("#result_list tbody tr")).to_have_count(2)
    expect(viewer.locator(".action-select")).to_have_count(0)

    viewer.goto(f"{LIST}{failed.pk}/change/")
    expect(viewer.locator(".tq-button")).to_have_count(0)

    token = next(cookie["value"] for cookie in viewer.context.cookies() if cookie["name"] == "csrftoken")
    answer = viewer.request.post(f"{LIST}{failed.pk}/retry/", headers={"X-CSRFToken": token, "Referer": base_url})
    assert answer.status == 403
    assert Task.objects.get(pk=failed.pk).status == "failed"


def test_edits_the_payload_of_a_failed_task_and_reruns_it(operator: Page, failed):
    operator.goto(f"{LIST}{failed.pk}/change/")
    operator.get_by_role("link", name="Edit and rerun").click()
    payload = operator.get_by_label("New payload")
    payload.fill('{"label": "mended", "delay_seconds": "soon"}')
    operator.get_by_role("button", name="Create task").click()

    expect(operator.get_by_role("alert")).to_contain_text("/delay_seconds Input should be a valid number")
    expect(payload).to_have_value('{"label": "mended", "delay_seconds": "soon"}')

    payload.fill('{"label": "mended", "delay_seconds": 0}')
    operator.get_by_role("button", name="Validate").click()
    expect(operator.get_by_role("status")).to_contain_text("The payload is valid")
    operator.get_by_role("button", name="Create task").click()
    expect(operator.locator(".messagelist")).to_contain_text("This is a new task with the edited payload.")
    expect(operator.locator(".tq-details")).to_contain_text("Rerun of")

    work()
    operator.reload()
    expect(operator.locator(".tq-head .tq-badge")).to_have_text("Succeeded")


def test_opens_steps_by_address_and_keyboard(operator: Page, failed):
    operator.goto(f"{LIST}{failed.pk}/change/#step-2")

    expect(operator.locator("#step-2")).to_have_attribute("open", "")  # as the address asks
    expect(operator.locator("#step-3")).to_have_attribute("open", "")
    expect(operator.locator("#step-3 .tq-track .tq-bar")).to_have_count(1)
    operator.locator("#step-1 summary").first.press("Enter")
    expect(operator.locator("#step-1")).to_have_attribute("open", "")


@pytest.fixture
def without_javascript(browser: Browser, base_url: str, operator: Page) -> Iterator[Page]:
    """The operator's session in a browser without JavaScript."""
    context = browser.new_context(java_script_enabled=False, base_url=base_url)
    context.add_cookies(operator.context.cookies())  # type: ignore[arg-type]  # reads and writes differ in name only
    yield context.new_page()
    context.close()


def test_a_task_is_read_and_retried_without_javascript(without_javascript: Page, failed):
    without_javascript.goto(f"{LIST}{failed.pk}/change/")
    without_javascript.get_by_text("simulate-processing", exact=True).click()
    expect(without_javascript.locator("#step-1 pre", has_text='"words": 1')).to_be_visible()

    without_javascript.get_by_role("button", name="Retry", exact=True).click()

    expect(without_javascript.locator(".tq-head .tq-badge")).to_have_text("Queued")


def test_copies_an_id_and_an_output(operator: Page, context: BrowserContext, base_url: str, failed: Task):
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=base_url)
    operator.goto(f"/admin/taskqueue/task/{failed.pk}/change/")

    button = operator.get_by_role("button", name=f"Copy {failed.pk}")
    button.focus()
    operator.keyboard.press("Enter")
    expect(button).to_have_text("Copied")
    assert operator.evaluate("navigator.clipboard.readText()") == str(failed.pk)
    expect(operator.locator("[aria-live=polite]")).to_have_text("Copied")

    operator.locator("#step-1 > summary").click()
    operator.locator("#step-1-output").get_by_role("button", name="Copy this JSON").click()
    expect(operator.locator("#step-1-output .tq-copy")).to_have_text("Copied")
    assert json.loads(operator.evaluate("navigator.clipboard.readText()")) == Step.objects.earliest("pk").output


def test_without_a_clipboard_there_is_no_copy_button(operator: Page, failed: Task):
    operator.add_init_script("Object.defineProperty(Navigator.prototype, 'clipboard', {get: () => undefined})")
    operator.goto(f"/admin/taskqueue/task/{failed.pk}/change/")

    expect(operator.locator(".tq-copy").first).to_be_attached()
    expect(operator.locator(".tq-copy").first).to_be_hidden()
