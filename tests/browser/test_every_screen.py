"""Every screen, light, dark and narrow: nothing that axe finds, no complaint of the browser, no sideways scroll."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.conftest import sign_in_admin
from tests.browser.screens import screens, tell_stories

MODES = {
    "light": {"color_scheme": "light", "viewport": {"width": 1440, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1440, "height": 900}},
    "narrow": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}


@pytest.fixture(params=MODES, ids=list(MODES))
def browser_context_args(request: pytest.FixtureRequest, base_url: str) -> dict[str, object]:
    """How it is looked at."""
    return {**MODES[request.param], "base_url": base_url}


@pytest.fixture(params=MODES, ids=list(MODES))
def unguarded(browser: Browser, base_url: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page in which axe may do what our policy forbids: it writes style sheets of its own."""
    context = browser.new_context(base_url=base_url, bypass_csp=True, **MODES[request.param])  # type: ignore[arg-type]
    yield context.new_page()
    context.close()


@pytest.mark.timeout(300)
def test_axe_finds_nothing_on_any_screen(unguarded: Page, base_url: str, transactional_db: None) -> None:
    sign_in_admin(unguarded.context, base_url, "ada")
    tell_stories()
    axe, found = Axe(), []
    for name, address in screens():
        unguarded.goto(address)
        violations = axe.run(unguarded).response["violations"]
        found += [(name, each["id"], [node["html"][:200] for node in each["nodes"][:3]]) for each in violations]

    assert not found, "\n".join(str(each) for each in found)


@pytest.mark.timeout(300)
def test_every_screen_fits_and_the_browser_complains_of_nothing(
    page: Page, context: BrowserContext, base_url: str, transactional_db: None
) -> None:
    sign_in_admin(context, base_url, "ada")
    tell_stories()
    too_wide = []
    for name, address in screens():
        page.goto(address)
        assert page.locator("#content").count(), f"{name}: {page.title()}"
        width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if width > 0:
            too_wide.append((name, width))

    assert too_wide == []
