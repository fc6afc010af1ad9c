"""Takes the pictures of the README and of docs/: `make pictures`."""

from __future__ import annotations

from pathlib import Path
from socket import gethostname

import pytest
from django.conf import settings
from django.db.models import Value
from django.db.models.functions import Now, Replace
from playwright.sync_api import BrowserContext, Page

from demo.seeding import seed
from taskqueue.engine.maintenance.rollups import roll_further
from taskqueue.models import Attempt, Worker
from tests.support.browser.screens import screens, tell_stories
from tests.support.browser.sign_in import sign_in_admin
from tests.support.browser.workers import beside

LEFT_OUT = {
    "failed tasks", "nothing found", "scheduled task", "new token", "missing", "rerun asked", "retry asked",
    "limits", "usage", "parallel steps",
}  # fmt: skip
IMAGES = Path(__file__).parents[2] / "docs" / "images"

TASKS = 4_000


def a_month() -> None:
    """What `manage.py seed` makes."""
    for _made in seed(tasks=TASKS, steps=5):
        pass


def count() -> None:
    """Roll up all of it; meanwhile those beat on who beat before. This machine's names do not belong in pictures."""
    while roll_further():
        pass
    Worker.objects.filter(ended_at=None).exclude(host="worker-2").update(heartbeat_at=Now())
    Worker.objects.filter(host=gethostname()).update(host="worker-3")
    place = Replace("traceback", Value(str(settings.BASE_DIR)), Value("/srv/service"))
    Attempt.objects.update(traceback=place)


@pytest.fixture(params=["light", "dark"])
def browser_context_args(request: pytest.FixtureRequest, base_url: str) -> dict[str, object]:
    """Which theme."""
    return {"base_url": base_url, "color_scheme": request.param, "viewport": {"width": 1440, "height": 900}}


@pytest.mark.timeout(600)
def test_pictures_are_taken(
    page: Page,
    context: BrowserContext,
    base_url: str,
    transactional_db: None,
    browser_context_args: dict[str, object],
) -> None:
    sign_in_admin(context, base_url, "ada")
    beside(a_month)
    tell_stories()
    beside(count)
    for name, address, _status in (screen for screen in screens() if screen.name not in LEFT_OUT):
        page.goto(address.replace("range=1h", "range=24h"))
        page.screenshot(
            path=IMAGES / f"{name.replace(' ', '-')}-{browser_context_args['color_scheme']}.png", full_page=True
        )
