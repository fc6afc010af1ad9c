"""Every screen once at four widths: answered, without a complaint, nothing cut, no word broken; axe is in the crawl."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext

from tests.browser.conftest import sign_in_admin
from tests.browser.inspection import Inspector
from tests.browser.screens import screens, tell_stories


@pytest.mark.timeout(600)
def test_every_screen_is_sound(context: BrowserContext, base_url: str, transactional_db: None) -> None:
    sign_in_admin(context, base_url, "ada")
    tell_stories()
    inspector = Inspector(context)

    for screen in screens():
        inspector.visit(*screen, with_axe=False)

    assert not inspector.faults, "\n".join(inspector.faults)
