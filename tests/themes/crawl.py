"""Opens every page of the admin under the theme of the settings, and prints the errors as JSON."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Generator, Iterator

import django
from django.contrib.auth import get_user_model
from django.test import Client

BUTTONS = {
    "task": ("Retry", "Cancel", "Rerun", "Edit and rerun"),
    "pipeline": ("Submit a task",),
    "event": ("Send another",),
    "worker": ("Drain",),
}
"""The buttons that the page of one row must have."""
LINK = re.compile(r'href="(/admin/taskqueue/[a-z]+/[^"?#]+/change/)[?"]')
MORE = (
    "/admin/", "/admin/taskqueue/", "/admin/admin/logentry/", "/admin/taskqueue/task/?status=failed",
    "/admin/taskqueue/task/?q=nothing", "/admin/taskqueue/pipeline/demo_2Ftask/submit/", "/admin/taskqueue/event/send/",
    "/admin/taskqueue/token/add/", "/admin/taskqueue/pipelinepermission/add/",
    "/admin/taskqueue/bulkoperation/new/retry/?status=failed",
)  # fmt: skip


def errors(client: Client) -> Iterator[str]:
    """The errors of all pages."""
    index = client.get("/admin/").content.decode()
    lists = sorted(set(re.findall(r'href="(/admin/taskqueue/[a-z]+/)"', index)))
    if "/admin/taskqueue/overview/" not in lists or len(lists) < 12:
        yield f"the menu leads to {lists}"
    for address in [*lists, *MORE]:
        body = yield from opened(client, address)
        model = address.split("/")[3] if address.count("/") > 3 else ""
        for row in LINK.findall(body)[:1]:
            page = yield from opened(client, row)
            yield from (f"{row} has no {label}" for label in BUTTONS.get(model, ()) if not has_button(page, label))
            if model == "task":
                for action in ("edit/", "retry/", "rerun/"):
                    yield from opened(client, row.replace("change/", action))


def opened(client: Client, address: str) -> Generator[str, None, str]:
    """The HTML of a page; yields an error unless it answers 200."""
    try:
        response = client.get(address)
    except Exception as error:  # noqa: BLE001 - a theme may raise anything
        yield f"{address}: {type(error).__name__}: {error}"
        return ""
    if response.status_code != 200:
        yield f"{address}: {response.status_code}"
    return response.content.decode()


def has_button(page: str, label: str) -> bool:
    """Whether a page has a taskqueue button with this label."""
    labels = re.findall(r'class="tq-button[^>]*>(.*?)</(?:button|a)>', page, re.DOTALL)
    return label in {re.sub(r"<[^>]+>|\s+", " ", each).strip() for each in labels}


if __name__ == "__main__":
    django.setup()
    client = Client(SERVER_NAME="localhost")
    client.force_login(get_user_model().objects.get(username="ada"))
    json.dump(list(errors(client)), sys.stdout)
