"""Actions on the selected rows of a list."""

from __future__ import annotations

import re

from playwright.sync_api import Page

BUTTON = re.compile("^(Go|Run)$")
"""Django's name for the button: "Go", and since Django 6.1 "Run"."""


def run_action(page: Page, action: str) -> None:
    """Choose an action for the selected rows, and press its button."""
    page.get_by_label("Action:").select_option(action)
    page.get_by_role("button", name=BUTTON).click()
