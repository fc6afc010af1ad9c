"""Pages keep their shape at every width."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from demo.publishing import PublishRequest, publish
from taskqueue.engine.mirror import mirror_pipelines
from tests.browser.conftest import sign_in
from tests.browser.layout import WIDTHS, faults_at
from tests.browser.workers import work

PUBLISH = "/admin/taskqueue/pipeline/demo_2Fpublish/change/"


def test_parallel_steps_fit_a_pipelines_page_at_every_width(page: Page, context, base_url, transactional_db):
    mirror_pipelines()
    sign_in(context, base_url, "vera", "view_task", "view_pipeline", "view_gate", "change_gate")
    publish.enqueue(PublishRequest(title="On waiting", pages=3))
    work()
    page.goto(PUBLISH)

    expect(page.locator("#content")).to_contain_text("draw-cover")
    assert [fault for width in WIDTHS for fault in faults_at(page, width)] == []
