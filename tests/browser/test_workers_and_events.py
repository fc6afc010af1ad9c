"""What an operator does with workers, events, schedules and rates."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models.functions import Now
from playwright.sync_api import BrowserContext, Page, expect

from taskqueue.models import Pipeline, RateLimit, RateLimitBucket, Schedule, Task, Trigger, Worker
from tests.support.browser.screens import ALL_RIGHTS
from tests.support.browser.sign_in import sign_in

ADMIN = "/admin/taskqueue"


@pytest.fixture
def keeper(page: Page, context: BrowserContext, base_url: str, transactional_db: None) -> Page:
    """A page before which somebody sits who looks after all of it."""
    sign_in(context, base_url, "dana", *ALL_RIGHTS)
    return page


def test_drains_a_worker_and_lets_it_go_on(keeper: Page):
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
    expect(keeper.locator(".field-shown_state")).to_contain_text("Live")


def test_sends_an_event_with_a_mistake_corrects_it_and_sees_what_it_started(keeper: Page):
    # Of a pipeline that only other processes' code knows, which makes the task when it looks.
    Trigger.objects.create(pipeline=Pipeline.objects.create(name="far/away"), event="order/paid")
    demo, _made = Pipeline.objects.get_or_create(name="demo/task")
    Trigger.objects.create(pipeline=demo, event="order/paid", position=9)
    keeper.goto(f"{ADMIN}/event/")
    keeper.get_by_role("link", name="Send an event").click()
    keeper.get_by_label("Name").fill("order/paid")
    keeper.get_by_label("Data").fill("{label: 7}")
    keeper.get_by_role("button", name="Send the event").click()
    expect(keeper.locator(".tq-wrong")).to_contain_text("This is not JSON")

    keeper.get_by_label("Data").fill('{"label": "seven"}')
    keeper.get_by_role("button", name="Send the event").click()

    expect(keeper.locator(".messagelist")).to_contain_text("The event is sent.")
    expect(keeper.locator(".field-shown_reasons")).to_contain_text("does not know the pipeline far/away")
    started = Task.objects.get()
    link = keeper.locator(".field-shown_started").get_by_role("link")
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

    # Its payload has no defaults: no tick could make one either.
    expect(keeper.locator(".messagelist")).to_contain_text(
        "No task was made: The defaults of its parameters do not fit"
    )
    assert not Task.objects.exists()


def test_holds_a_rate_for_a_reason_and_lifts_the_hold(keeper: Page):
    RateLimit.objects.create(name="api", declared_count=5, declared_per=timedelta(minutes=1), declared_burst=1)
    keeper.goto(f"{ADMIN}/rate/api/change/")
    keeper.get_by_label("For how long").fill("1h")
    keeper.get_by_label("Reason").fill("they are down")
    keeper.get_by_role("button", name="Hold the rate").click()

    expect(keeper.locator(".tq-table")).to_contain_text("they are down")
    keeper.goto(f"{ADMIN}/rate/")
    expect(keeper.locator("#result_list")).to_contain_text("held until in 59m: they are down")
    keeper.get_by_role("link", name="api", exact=True).click()
    keeper.get_by_role("button", name="Lift the hold").click()

    expect(keeper.locator(".messagelist")).to_contain_text("The hold is lifted.")
    assert RateLimitBucket.objects.get().blocked_until is None
