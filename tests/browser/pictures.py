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
from taskqueue.engine.maintenance.rollups import roll_up_window
from taskqueue.models import Attempt, Worker
from tests.support.browser.screens import create_examples, screens
from tests.support.browser.sign_in import sign_in_admin
from tests.support.browser.workers import in_thread

LEFT_OUT = {
    "failed tasks", "nothing found", "scheduled task", "new token", "missing", "rerun question", "retry question",
    "limits", "usage", "parallel steps", "questions", "question",
}  # fmt: skip
IMAGES = Path(__file__).parents[2] / "docs" / "images"

TASKS = 4_000


def seed_tasks() -> None:
    """The data of `manage.py seed`."""
    for _batch in seed(tasks=TASKS, steps=5):
        pass


def roll_up_all() -> None:
    """Roll up everything, refresh the heartbeats, and replace this machine's names, which do not belong in pictures."""
    while roll_up_window():
        pass
    Worker.objects.filter(ended_at=None).exclude(host="worker-2").update(heartbeat_at=Now())
    Worker.objects.filter(host=gethostname()).update(host="worker-3")
    path = Replace("traceback", Value(str(settings.BASE_DIR)), Value("/srv/service"))
    Attempt.objects.update(traceback=path)


@pytest.fixture(params=["light", "dark"])
def browser_context_args(request: pytest.FixtureRequest, base_url: str) -> dict[str, object]:
    """A light and a dark theme."""
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
    in_thread(seed_tasks)
    create_examples()
    in_thread(roll_up_all)
    for name, address, _status in (screen for screen in screens() if screen.name not in LEFT_OUT):
        page.goto(address.replace("range=1h", "range=24h"))
        page.screenshot(
            path=IMAGES / f"{name.replace(' ', '-')}-{browser_context_args['color_scheme']}.png", full_page=True
        )
