"""Live refresh and keyboard shortcuts."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from demo.pipelines import DemoRequest, demo_task
from taskqueue.models import Task
from tests.support.browser.workers import work

LIST = "/admin/taskqueue/task/"


def enqueue(label: str, **more: object) -> Task:
    return demo_task.enqueue(DemoRequest(label=label, delay_seconds=0, **more))  # type: ignore[arg-type]  # its own fields


def test_watches_a_task_finish_without_reloading(operator: Page, transactional_db):
    task = enqueue("watched")
    operator.goto(f"{LIST}{task.pk}/change/")
    expect(operator.locator(".tq-head .tq-badge")).to_have_text("Queued")
    operator.evaluate("window.untouched = true")

    work()

    expect(operator.locator(".tq-head .tq-badge")).to_have_text("Succeeded")
    expect(operator.locator("button.tq-live")).to_have_text("Ended")
    assert operator.evaluate("window.untouched")


def test_an_open_step_stays_open_during_a_refresh(operator: Page, transactional_db):
    task = enqueue("broken", failures_before_success=9)
    work()
    operator.goto(f"{LIST}{task.pk}/change/")
    step = operator.locator("details#step-1")
    step.locator("summary.tq-line").click()
    expect(step).to_have_attribute("open", "")

    Task.objects.filter(pk=task.pk).update(labels={"tenant": "acme"})

    expect(operator.locator(".tq-details")).to_contain_text("acme")
    expect(operator.locator("details#step-1")).to_have_attribute("open", "")


def test_a_refresh_waits_until_no_row_is_selected(operator: Page, transactional_db):
    enqueue("first")
    operator.goto(LIST)
    box = operator.locator("#result_list .action-select")
    box.check()

    with operator.expect_response(lambda answer: answer.request.headers.get("x-tq-live") == "1"):
        enqueue("second")
    expect(operator.locator("#result_list tbody tr")).to_have_count(1)

    box.uncheck()
    operator.mouse.move(0, 0)
    expect(operator.locator("#result_list tbody tr")).to_have_count(2)
    expect(operator.locator("#result_list tbody tr.tq-new")).to_have_count(1)
    expect(operator.locator("#result_list tbody tr").first).to_have_class("tq-new")


def test_a_key_pauses_live_updates_permanently(operator: Page, transactional_db):
    operator.goto(LIST)
    button = operator.locator("button.tq-live")
    expect(button).to_have_attribute("aria-pressed", "true")

    operator.keyboard.press(".")
    expect(button).to_have_attribute("aria-pressed", "false")
    operator.reload()
    expect(operator.locator("button.tq-live")).to_have_attribute("aria-pressed", "false")


def test_everything_by_keyboard(operator: Page, transactional_db):
    older = enqueue("older")
    newer = enqueue("newer")
    operator.goto("/admin/")

    operator.keyboard.press("g")
    operator.keyboard.press("t")
    operator.wait_for_url(f"**{LIST}")
    expect(operator.locator("button.tq-live")).to_be_visible()
    operator.keyboard.press("/")
    expect(operator.locator("#searchbar")).to_be_focused()
    operator.keyboard.press("Escape")
    operator.locator("#searchbar").blur()
    operator.keyboard.press("j")
    operator.keyboard.press("x")
    expect(operator.locator("#result_list tbody tr").first.locator(".action-select")).to_be_checked()
    operator.keyboard.press("x")
    operator.keyboard.press("Enter")
    operator.wait_for_url(f"**{newer.pk}/change/")
    operator.keyboard.press("]")
    operator.wait_for_url(f"**{older.pk}/change/")
    expect(operator.locator("button.tq-live")).to_be_visible()

    operator.keyboard.press("?")
    dialog = operator.get_by_role("dialog")
    expect(dialog).to_contain_text("Live updates on or off")
    dialog.get_by_role("checkbox").uncheck()
    dialog.get_by_role("button", name="Close").click()
    operator.keyboard.press("[")
    operator.keyboard.press("?")
    expect(operator.get_by_role("dialog")).to_be_visible()
    assert str(older.pk) in operator.url


MARKS = """offsets => document.body.append(...offsets.map(([seconds, due]) => {
    const time = document.createElement("time");
    time.dateTime = new Date(Date.now() + seconds * 1000).toISOString();
    time.dataset.age = "";
    if (due) time.dataset.due = due;
    time.className = "mark";
    return time;
}))"""


def test_relative_times_are_counted_on_without_changes(operator: Page, transactional_db):
    operator.goto(LIST)
    operator.wait_for_event("response", lambda answer: answer.status == 304)

    marks = [[-30, ""], [-150, ""], [-7300, ""], [-200_000, ""], [150, ""], [7300, ""], [200_000, ""]]
    operator.evaluate(MARKS, [*marks, [150, "runs"], [-150, "retries"]])

    texts: list[str | re.Pattern[str]] = [
        re.compile(r"^[34]\ds ago$"),
        "2m ago",
        "2h ago",
        "2d ago",
        "in 2m",
        "in 2h",
        "in 2d",
        "runs in 2m",
        "due now",
    ]
    expect(operator.locator("time.mark")).to_have_text(texts)


def test_a_signed_out_user_is_told_so(operator: Page, transactional_db):
    operator.goto(LIST)
    operator.context.clear_cookies()

    expect(operator.locator("button.tq-live")).to_have_text("Signed out")
