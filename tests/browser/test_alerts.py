"""Alert rules in the browser: add one, silence it, and see on the overview what fires."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, Page, expect

from taskqueue.engine.alerts.evaluate import evaluate_rules
from taskqueue.models import AlertRule
from tests.support.browser.sign_in import sign_in

LIST = "/admin/taskqueue/alertrule/"


def test_adds_and_silences_a_rule_that_fires(
    page: Page, context: BrowserContext, base_url: str, transactional_db: None
):
    AlertRule.objects.all().delete()
    sign_in(context, base_url, "mia", "view_alertrule", "add_alertrule", "change_alertrule", "view_task")
    page.goto(LIST)
    page.get_by_role("link", name="Add one").click()
    page.get_by_label("Name").fill("Mail workers")
    page.get_by_label("Condition").select_option("workers")
    page.get_by_label("Threshold").fill("1")
    page.get_by_label("Subjects").fill("default")
    page.get_by_label("For:").fill("0")
    page.get_by_label("Mail addresses").fill("ops@example.com")
    page.get_by_role("button", name="Save", exact=True).click()
    assert evaluate_rules() == 1

    page.goto("/admin/")
    firing = page.locator(".tq-alerts")
    expect(firing).to_contain_text("No live worker that can claim takes queue default.")
    firing.get_by_role("link", name="Alert rules").click()
    page.get_by_role("link", name="Mail workers").click()
    page.get_by_role("link", name="Silence…").click()
    page.get_by_label("Reason").fill("deploy")
    page.get_by_role("button", name="Silence").click()

    expect(page.locator(".messagelist")).to_contain_text("The rule sends nothing until")
    page.goto("/admin/")
    expect(firing).to_contain_text("silenced until")
