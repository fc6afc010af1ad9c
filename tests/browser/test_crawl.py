"""Every kind of page of the admin, reached by links from its index, with two hundred pipelines and a month of history.

Django's own pages for users and groups are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.cache import cache
from django.urls import Resolver404, resolve
from playwright.sync_api import BrowserContext

from taskqueue.models import BulkOperation, Task
from taskqueue.states import TaskStatus
from tests.support.browser.actions import run_action
from tests.support.browser.inspection import Inspector
from tests.support.browser.month import create_month, refresh_heartbeats
from tests.support.browser.screens import create_examples, screens
from tests.support.browser.sign_in import sign_in_admin
from tests.support.browser.workers import in_thread

LINKS = "links => links.map(link => new URL(link.getAttribute('href'), document.baseURI).href)"
FILTERED = {"taskqueue_task_changelist", "taskqueue_pipeline_changelist"}
"""Lists that axe checks also when filtered: they have all kinds of filters."""
FILES = {"taskqueue_task_export", "taskqueue_task_download"}
OURS = ("index", "app_list", "taskqueue_", "admin_logentry_")
BY_STATUS = {"taskqueue_task_change": Task, "taskqueue_bulkoperation_change": BulkOperation}

Kind = tuple[str, ...]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_kind_of_page_passes_with_a_month_of_history(
    context: BrowserContext, base_url: str, transactional_db: None
) -> None:
    sign_in_admin(context, base_url, "ada")
    create_examples()
    pending = {kind: screen.address for screen in screens() if (kind := kind_of(screen.address))}
    in_thread(create_month)
    cache.clear()
    inspector = Inspector(context)
    seen: set[Kind] = set()

    while pending:
        kind = next(iter(pending))
        refresh_heartbeats()
        inspector.visit(" ".join(kind), pending.pop(kind), with_axe=kind[-1] != "filtered" or kind[0] in FILTERED)
        seen.add(kind)
        for link in inspector.page.eval_on_selector_all("a[href]", LINKS):
            found = kind_of(link) if link.startswith(base_url) else None
            if found and found not in seen:
                pending.setdefault(found, link)

    assert not inspector.errors, "\n".join(inspector.errors)
    assert expected() - seen == set()


@pytest.mark.slow
def test_pages_after_a_form_pass(context: BrowserContext, base_url: str, transactional_db: None) -> None:
    sign_in_admin(context, base_url, "ada")
    create_examples()
    inspector = Inspector(context)
    page = inspector.page

    page.goto("/admin/taskqueue/pipeline/demo_2Ftask/submit/")
    page.get_by_label("Delay seconds").fill("soon")
    page.get_by_role("button", name="Submit the task").click()
    page.locator(".tq-invalid").wait_for()
    inspector.check("a form with a mistake")
    page.goto("/admin/taskqueue/pipeline/demo_2Ftask/change/")
    page.get_by_role("switch").click()
    page.get_by_label("Reason").wait_for()
    inspector.check("the question for a reason to pause")
    page.goto("/admin/taskqueue/token/add/")
    page.get_by_label("Name").fill(f"{'nightly-import-' * 6}1")
    page.get_by_role("button", name="Create token").click()
    page.locator(".tq-secret").wait_for()
    inspector.check("a token's secret")
    page.goto("/admin/taskqueue/task/?status=retrying")
    page.locator("#action-toggle").check()
    inspector.check("a list with rows ticked")
    run_action(page, "rerun_selected")
    page.wait_for_load_state()
    inspector.check("the question before several tasks run again")

    assert not inspector.errors, "\n".join(inspector.errors)


def kind_of(address: str) -> Kind | None:
    """The kind of a page, of which only one is checked; None for an address that is not a page of taskqueue.

    It is the URL name, with the status of a task or operation, the group of a pipeline, the verb of a new operation,
    and whether a list is filtered.
    """
    parts = urlsplit(address)
    try:
        match = resolve(parts.path)
    except Resolver404:
        return None
    name = match.url_name or ""
    if match.namespace != "admin" or not name.startswith(OURS) or name in FILES:
        return None
    return (name, *details(name, unquote(str(next(iter(match.kwargs.values()), ""))), parts.query))


def details(name: str, key: str, query: str) -> Iterator[str]:
    if model := BY_STATUS.get(name):
        yield model.objects.get(pk=key).status  # type: ignore[attr-defined]  # both have one
    elif name == "taskqueue_pipeline_change":
        yield key.partition("/")[0]
    elif name == "taskqueue_bulkoperation_new":
        yield key
    elif name.endswith("_changelist") and query:
        yield "filtered"


def expected() -> set[Kind]:
    """Kinds that must be visited: all lists of taskqueue, a task in each status, a pipeline without code."""
    models = [model._meta for model in admin.site._registry if model._meta.app_label == "taskqueue"]
    lists = {(f"taskqueue_{meta.model_name}_changelist",) for meta in models}
    return (
        lists | {("taskqueue_task_change", status) for status in TaskStatus} | {("taskqueue_pipeline_change", "seed")}
    )
