"""A real browser and a real server. Any console error or warning of the browser fails the test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from tests.support.browser.sign_in import BROWSER_TIMEOUT, WATCH, sign_in

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUICK = "const wait = window.setTimeout; window.setTimeout = (call, ms) => wait(call, ms < 5000 ? ms : ms / 10)"
"""Live pages, which refresh every five seconds, refresh every half second."""
expect.set_options(timeout=BROWSER_TIMEOUT)
OPERATOR = ("view_task", "view_pipeline", "view_worker", "retry_task", "cancel_task", "add_task")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark this folder's tests."""
    for item in items:
        if "tests/browser/" in item.nodeid:
            item.add_marker("browser")


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """Playwright, stopped after this folder's tests: other tests need the thread without its event loop."""
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as started:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Django refuses the database in a thread with an event loop
        yield started


@pytest.fixture(scope="package")
def browser(playwright: Playwright, browser_type_launch_args: dict[str, Any]) -> Iterator[Browser]:
    """Chromium, closed before Playwright stops."""
    browser = playwright.chromium.launch(**browser_type_launch_args)
    yield browser
    browser.close()


@pytest.fixture(scope="package")
def browser_context_args(base_url: str) -> dict[str, Any]:
    """The base URL."""
    return {"base_url": base_url}


@pytest.fixture(scope="session")
def chromium() -> str:
    """The system's Chromium."""
    configured = os.environ.get("CHROMIUM", "")
    found = configured or next((path for name in BROWSERS if (path := shutil.which(name))), "")
    if not found or not shutil.which(found):
        pytest.fail(
            f"There is no browser: {configured or 'chromium'} was not found. Install one (Debian and Ubuntu: "
            "apt install chromium), or set CHROMIUM to the path of a Chromium or Chrome.",
            pytrace=False,
        )
    return found


@pytest.fixture(scope="session")
def browser_type_launch_args(chromium: str) -> dict[str, Any]:
    """Launch options; no sandbox, because root in a container has none."""
    return {"executable_path": chromium, "args": ["--no-sandbox", "--disable-gpu", "--force-color-profile=srgb"]}


@pytest.fixture(scope="session")
def live_server() -> Iterator[LiveServer]:
    """The project with its content security policy."""
    server = LiveServer("localhost")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def base_url(live_server: LiveServer) -> str:
    """The URL that addresses in the tests are relative to."""
    return live_server.url


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page; the test fails if the browser reported an error or warning."""
    context.set_default_timeout(BROWSER_TIMEOUT)
    context.add_init_script(f"{WATCH}; {QUICK}")
    page = context.new_page()
    complaints: list[str] = []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in {"error", "warning"} else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    assert complaints == []


@pytest.fixture
def operator(page: Page, context: BrowserContext, base_url: str, transactional_db: None) -> Page:
    """A page of a signed-in operator."""
    sign_in(context, base_url, "olga", *OPERATOR)
    return page


@pytest.fixture
def viewer(page: Page, context: BrowserContext, base_url: str, transactional_db: None) -> Page:
    """A page of a signed-in user who may only view tasks."""
    sign_in(context, base_url, "vera", "view_task")
    return page
