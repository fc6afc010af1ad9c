"""Workers, events, schedules and rate limits in the browser."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models.functions import Now
from playwright.sync_api import BrowserContext, Page, expect

from taskqueue.models import Pipeline, RateLimit, RateLimitBucket, Schedule, Task, Trigger, Worker
from tests.support.browser.screens import ALL_PERMISSIONS
from tests.support.browser.sign_in import sign_in

ADMIN = "/admin/taskqueue"


@pytest.fixture
def keeper(page: Page, context: BrowserContext, base_url: str, transactional_db: None) -> Page:
    """A page of a user with all permissions for these pages."""
    sign_in(context, base_url, "dana", *ALL_PERMISSIONS)
    return page


def test_drains_and_resumes_a_worker(keeper: Page):
    worker = Worker.objects.create(host="moon", pid=7, cluster="c", version="1")
    Worker.objects.create(host="moon", pid=8, cluster="c", version="1")
    keeper.goto(f"{ADMIN}/worker/")
    keeper.get_by_role("button", name="Drain moon:7").click()

    row = keeper.locator("#result_list tr", has_text="moon:7")
    expect(row).to_contain_text("Drained")
    expect(keeper.locator("#result_list tr", has_text="moon:8")).to_contain_text("Live")
    assert Worker.objects.get(pk=worker.pk).draining_at is not None

    keeper.get_by_role("link", name="moon:7").click()
    expect(keeper.locator(".tq-history")).to_contain_text("dana Drained.")
    keeper.get_by_role("button", name="Resume moon:7").click()
    expect(keeper.locator(".field-state")).to_contain_text("Live")


def test_sends_an_event_and_sees_what_it_started(keeper: Page):
    # The code of far/away is deployed in other processes only; they start the task.
    Trigger.objects.create(pipeline=Pipeline.objects.create(name="far/away"), event="order/paid")
    demo, _made = Pipeline.objects.get_or_create(name="demo/task")
    Trigger.objects.create(pipeline=demo, event="order/paid", position=9)
    keeper.goto(f"{ADMIN}/event/")
    keeper.get_by_role("link", name="Send an event").click()
    keeper.get_by_label("Name").fill("order/paid")
    keeper.get_by_label("Data").fill("{label: 7}")
    keeper.get_by_role("button", name="Send the event").click()
    expect(keeper.locator(".tq-invalid")).to_contain_text("This is not JSON")

    keeper.get_by_label("Data").fill('{"label": "seven"}')
    keeper.get_by_role("button", name="Send the event").click()

    expect(keeper.locator(".messagelist")).to_contain_text("The event is sent.")
    expect(keeper.locator(".field-skipped_pipelines")).to_contain_text("does not know the pipeline far/away")
    started = Task.objects.get()
    link = keeper.locator(".field-started_tasks").get_by_role("link")
    expect(link).to_contain_text(str(started.pk)[-6:])
    link.click()
    expect(keeper.locator(".tq-head")).to_contain_text("demo/task")


def test_runs_a_schedule_now_from_the_list(keeper: Page):
    Pipeline.objects.get_or_create(name="demo/task")
    Schedule.objects.create(
        pipeline_id="demo/task", expression="0 3 * * *", timezone="UTC", misfire="once", next_at=Now()
    )
    keeper.goto(f"{ADMIN}/schedule/")
    keeper.get_by_role("button", name="Run demo/task now").click()

    # Its payload has no defaults, so a scheduled run would fail too.
    expect(keeper.locator(".messagelist")).to_contain_text(
        "No task was created: The defaults of its parameters do not fit"
    )
    assert not Task.objects.exists()


def test_blocks_a_rate_limit_and_unblocks_it(keeper: Page):
    RateLimit.objects.create(name="api", declared_count=5, declared_per=timedelta(minutes=1), declared_burst=1)
    keeper.goto(f"{ADMIN}/ratelimit/api/change/")
    keeper.get_by_label("For how long").fill("1h")
    keeper.get_by_label("Reason").fill("they are down")
    keeper.get_by_role("button", name="Block", exact=True).click()

    expect(keeper.locator(".tq-table")).to_contain_text("they are down")
    keeper.goto(f"{ADMIN}/ratelimit/")
    expect(keeper.locator("#result_list")).to_contain_text("blocked until in 59m: they are down")
    keeper.get_by_role("link", name="api", exact=True).click()
    keeper.get_by_role("button", name="Unblock").click()

    expect(keeper.locator(".messagelist")).to_contain_text("The rate limit is unblocked.")
    assert RateLimitBucket.objects.get().blocked_until is None
