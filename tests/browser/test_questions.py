"""Questions in the browser: a signed-in assignee, and a person with a link only."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, expect

from taskqueue.engine.access.answer_links import AnswerLink, token_of
from taskqueue.models import Question, Task
from tests.support.browser.inspection import Inspector
from tests.support.browser.sign_in import sign_in
from tests.support.browser.workers import work
from tests.support.pipelines.refunds import refund

LIST = "/admin/taskqueue/question/"


def test_an_assignee_answers_in_the_admin(page: Page, context: BrowserContext, base_url: str, transactional_db: None):
    task = refund.enqueue(7)
    work()
    sign_in(context, base_url, "anna", "view_task")
    page.goto(f"/admin/taskqueue/task/{task.pk}/change/")
    shoot(page, "question-task")
    page.get_by_role("link", name="Waiting for you").click()
    shoot(page, "question-list")
    page.get_by_role("link", name="Refund order 7?").click()
    expect(page.get_by_label("Order")).to_have_value("7")
    expect(page.get_by_label("Order")).to_be_disabled()
    page.get_by_label("Amount").fill("101")
    page.get_by_role("button", name="Send the answer").click()
    expect(page.get_by_role("alert")).to_contain_text("Correct the marked fields.")
    shoot(page, "question-form")
    page.get_by_label("Amount").fill("20")
    page.get_by_label("Approved").check()
    page.get_by_role("button", name="Send the answer").click()

    expect(page.locator(".messagelist")).to_contain_text("Your answer counts: the task continues.")
    expect(page.get_by_text("No question waits for you.")).to_be_visible()
    work()
    assert Task.objects.get(pk=task.pk).result == "True 20"


def test_the_pages_are_accessible(context: BrowserContext, base_url: str, transactional_db: None):
    task = refund.enqueue(7)
    work()
    sign_in(context, base_url, "anna", "view_task")
    inspector = Inspector(context)
    token = token_of(AnswerLink(task=task.pk, wait="refund/approved", to="bob@example.org"))
    inspector.visit("link", f"/api/answer/{token}")
    inspector.visit("list", LIST)
    inspector.visit("form", f"{LIST}{Question.objects.get().pk}/change/")
    inspector.visit("task", f"/admin/taskqueue/task/{task.pk}/change/")

    assert inspector.errors == []


def test_a_person_answers_by_a_link(page: Page, transactional_db: None):
    task = refund.enqueue(7)
    work()
    token = token_of(AnswerLink(task=task.pk, wait="refund/approved", to="bob@example.org"))
    page.goto(f"/api/answer/{token}")
    expect(page.get_by_role("heading", name="Refund order 7?")).to_be_visible()
    shoot(page, "link-form")
    page.get_by_label("Approved").check()
    page.get_by_role("button", name="Send the answer").click()

    expect(page.get_by_role("status")).to_contain_text("The question was answered already by bob@example.org at")
    shoot(page, "link-answered")
    work()
    assert Task.objects.get(pk=task.pk).result == "True 10"


def shoot(page: Page, name: str) -> None:
    """Take screenshots if SCREENSHOTS names a folder."""
    if folder := os.environ.get("SCREENSHOTS"):
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            for width in (1280, 400):
                page.set_viewport_size({"width": width, "height": 800})
                page.screenshot(path=Path(folder) / f"{name}-{scheme}-{width}.png")
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": 1280, "height": 800})
