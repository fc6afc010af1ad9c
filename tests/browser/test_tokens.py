"""Tokens in the browser."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, expect

from taskqueue.engine.actions import tokens
from taskqueue.models import Token
from tests.support.browser.actions import run_action
from tests.support.browser.sign_in import sign_in

LIST = "/admin/taskqueue/token/"


def test_creates_a_token_and_revokes_it(page: Page, context: BrowserContext, base_url: str, transactional_db: None):
    sign_in(context, base_url, "mia", "view_token", "add_token", "change_token")
    page.goto(LIST)
    page.get_by_role("button", name="Live").click(trial=True)  # nothing covers it
    page.get_by_role("link", name="Add token").click()
    page.get_by_label("Name").fill("nightly-import")
    page.get_by_label("Requests per minute").fill("600")
    shoot(page, "token-form")
    page.get_by_role("button", name="Create token").click()

    expect(page.get_by_text("Copy it now")).to_be_visible()
    secret = page.locator(".tq-secret").inner_text()
    assert tokens.find(secret).name == "nightly-import"
    shoot(page, "token-secret")

    page.get_by_role("link", name="All tokens").click()
    expect(page.locator("#result_list")).to_contain_text("nightly-import")
    expect(page.locator("body")).not_to_contain_text(secret)
    expect(page.locator(".actions")).to_be_hidden()
    page.locator("#result_list tbody input[type=checkbox]").check()
    run_action(page, "revoke_selected")

    expect(page.locator(".messagelist")).to_contain_text("1 token revoked.")
    shoot(page, "token-list")
    assert Token.objects.get().revoked_at is not None


def shoot(page: Page, name: str) -> None:
    """Take screenshots if SCREENSHOTS names a folder."""
    if folder := os.environ.get("SCREENSHOTS"):
        for suffix, size in (("", (1280, 800)), ("-narrow", (390, 800))):
            page.set_viewport_size({"width": size[0], "height": size[1]})
            page.screenshot(path=Path(folder) / f"{name}{suffix}.png")
        page.set_viewport_size({"width": 1280, "height": 800})
