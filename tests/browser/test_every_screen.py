"""Every screen, light, dark and narrow: nothing that axe finds, no complaint of the browser, no sideways scroll."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page

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


@pytest.mark.timeout(300)
def test_every_screen_is_accessible_and_fits(
    page: Page, context: BrowserContext, base_url: str, transactional_db: None
) -> None:
    sign_in_admin(context, base_url, "ada")
    tell_stories()
    axe, found = Axe(), []
    for name, address in screens():
        page.goto(address)
        assert page.locator("#content").count(), f"{name}: {page.title()}"
        violations = axe.run(page).response["violations"]
        found += [(name, each["id"], [node["html"][:200] for node in each["nodes"][:3]]) for each in violations]
        width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if width > 0:
            found.append((name, "scrolls sideways", [f"{width} px"]))

    assert not found, "\n".join(str(each) for each in found)
