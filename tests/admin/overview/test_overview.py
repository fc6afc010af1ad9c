"""The overview, the first page of the admin."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from django.contrib.admin.models import LogEntry
from django.core.cache import cache
from django.db import OperationalError, connection
from django.db.models.functions import Now
from django.test import override_settings
from psycopg.errors import QueryCanceled

from demo.pipelines import DemoRequest, demo_task
from taskqueue.admin.pipelines import stats as pipeline_stats
from taskqueue.engine.maintenance.rollups import roll_up
from taskqueue.engine.queries import stats
from taskqueue.models import Pipeline, Rollup, RollupMark, Task, Worker
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.admin_pages import LIST, ids_on, text_of
from tests.support.moves import arranging
from tests.support.users import client_of

HOME = "/admin/"
PERMISSIONS = ("view_task", "view_pipeline", "view_worker", "view_event", "view_schedule", "view_ratelimit")


@pytest.fixture
def reader():
    return client_of("olaf", *PERMISSIONS)


def three_tasks() -> None:
    """One task that succeeds and two that fail with the same error, rolled up."""
    demo_task.enqueue(DemoRequest(label="fine", delay_seconds=0))
    for number in range(2):
        demo_task.using(key=f"bad-{number}").enqueue(
            DemoRequest(label="broken", delay_seconds=0, simulate_failure=True)
        )
    work()
    advance(minutes=4)
    roll_up()


def test_an_anonymous_visitor_is_asked_to_sign_in(client):
    assert client.get(HOME).url.startswith("/admin/login/")


def test_staff_without_view_task_get_the_list_of_apps(stranger):
    text = text_of(stranger.get(HOME))

    assert "Overview" not in text
    assert "Ask an administrator of this site for permissions" in text


def test_the_cards_and_tables_show_the_outcomes(reader):
    three_tasks()

    text = text_of(reader.get(HOME))

    assert "Failure rate 66.7 % 2 failed" in text
    assert "In queue 0 the queue is empty" in text
    assert re.search(r"Throughput <?[\d.]+ /min 3 ended, none in the 6 hours before", text)
    assert re.search(r"Execution p95 [\d.]+m?s p50 [\d.]+m?s, p99 [\d.]+m?s, queue time p95 [\d.]+m?s", text)
    assert re.search(r"2 Permanent in demo/task . simulate-api-call simulated failure in simulate-api-call", text)
    assert "demo/task 3 ended 33.3%" in text
    assert "demo/task bad-1" in text


def test_every_card_and_bar_links_to_a_list(reader):
    three_tasks()

    page = reader.get(HOME).content.decode()

    addresses = {found.replace("&amp;", "&") for found in re.findall(r'href="(/admin/taskqueue/task/\?[^"]+)"', page)}
    bars = {address for address in addresses if address.startswith(f"{LIST}?ended=")}
    assert len(bars) >= 60
    assert {reader.get(address).status_code for address in [*addresses - bars, min(bars), max(bars)]} == {200}


def test_a_bar_links_to_the_tasks_that_ended_in_its_period(reader):
    three_tasks()
    [bar] = [bar for bar in reader.get(HOME).context["chart_rows"] if bar["period"].failed]

    response = reader.get(bar["address"])

    assert response.context["cl"].result_count == 3
    assert "UTC" in text_of(response)


@pytest.mark.parametrize("period", ["x", "a..b", "2026-01-01T00:00Z..2025-01-01T00:00Z"])
def test_an_invalid_period_is_dropped(reader, period):
    assert reader.get("/admin/taskqueue/task/", {"ended": period}).status_code == 302


@pytest.mark.parametrize("name", ["1h", "6h", "24h", "7d"])
def test_every_range_includes_recent_tasks(reader, name):
    three_tasks()

    response = reader.get(HOME, {"range": name})

    assert response.context["range"].name == name
    assert response.context["stats"].total.failed == 2
    assert "2 Permanent in demo/task" in text_of(response)


def test_an_unknown_range_is_the_default_range(reader):
    assert reader.get(HOME, {"range": "1y"}).context["range"].name == "6h"


def test_cards_compare_with_the_period_before(reader):
    roll_up()
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    for hours, failed in ((2, 4), (8, 1)):
        Rollup.objects.create(
            span=1, at=now - timedelta(hours=hours), pipeline="", succeeded=100 - failed, failed=failed, ran=[0, 100]
        )

    text = text_of(reader.get(HOME))

    assert "Failure rate 4.0 % 4 failed, was 1.0%" in text
    assert re.search(
        r"/min 100 ended, (as in|[+-]\d% vs) the 6 hours before", text
    )  # the present period is not over yet


def test_percentiles_come_from_merged_histograms(reader):
    roll_up()
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    Rollup.objects.create(span=1, at=now - timedelta(minutes=5), pipeline="", succeeded=99, ran=[0] * 40 + [99])
    Rollup.objects.create(span=1, at=now - timedelta(minutes=6), pipeline="", succeeded=1, ran=[0] * 80 + [1])

    total = reader.get(HOME).context["stats"].total

    assert (
        timedelta(seconds=1) <= total.duration(0.95) <= timedelta(seconds=1.3)
    )  # the mean of both would be ten minutes


def test_the_number_of_queries_is_fixed(admin, django_assert_num_queries):
    three_tasks()
    queries = 19
    with django_assert_num_queries(queries):
        assert admin.get(HOME).status_code == 200
    for number in range(12):
        Pipeline.objects.create(name=f"more/{number}")
        Worker.objects.create(host="there", pid=number, cluster="c", version="1")
        demo_task.using(key=f"k{number}").enqueue(DemoRequest(label="broken", delay_seconds=0, simulate_failure=True))
    work()
    advance(minutes=2)
    roll_up()
    cache.clear()

    with django_assert_num_queries(queries):
        admin.get(HOME)


def test_a_second_viewer_is_served_from_the_cache(admin, reader, django_assert_num_queries):
    three_tasks()
    reader.get(HOME)

    with django_assert_num_queries(2):  # session and user
        assert "2 Permanent in demo/task" in text_of(admin.get(HOME))


def test_a_live_refresh_without_changes_is_a_304(reader, django_assert_num_queries):
    three_tasks()
    first = reader.get(HOME, headers={"X-TQ-Live": "1"})
    seen = {"X-TQ-Live": "1", "If-None-Match": first["ETag"]}

    again = reader.get(HOME, headers=seen)
    assert (again.status_code, again.content) == (304, b"")
    assert reader.get(HOME, {"range": "1h"}, headers=seen).status_code == 200
    assert client_of("other", *PERMISSIONS).get(HOME, headers=seen).status_code == 200

    demo_task.enqueue(DemoRequest(label="new"))
    cache.clear()
    assert reader.get(HOME, headers=seen).status_code == 200


def test_the_overview_counts_no_tasks(admin, django_assert_max_num_queries):
    three_tasks()

    with django_assert_max_num_queries(19) as queries:
        admin.get(HOME)

    touching = [query["sql"] for query in queries if "taskqueue_task" in query["sql"]]
    # The queues and the failure groups, capped, the last failures, and the queues of steps, by one probe each.
    assert len(touching) == 4
    assert all("LIMIT" in sql for sql in touching)


def test_queued_tasks_are_shown_with_the_age_of_the_oldest(reader, queued):
    advance(minutes=7)

    assert "In queue 1 oldest 7m" in text_of(reader.get(HOME))


def test_time_waiting_for_limits_is_shown_by_pipeline(reader):
    roll_up()
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    for minute in (5, 6):
        Rollup.objects.create(
            span=1, at=now - timedelta(minutes=minute), pipeline="demo/task", sampled_blocked_seconds=90
        )

    assert "Time waiting for limits demo/task 3m 00s" in text_of(reader.get(HOME))


def test_workers_are_shown_with_step_and_silence(reader, queued):
    with InProcessWorker() as worker:
        Worker.objects.filter(pk=worker.worker).update(
            task_id=queued.pk, executing=1, step="simulate-delay", version="2"
        )
        Worker.objects.create(
            host="elsewhere", pid=7, cluster="c", version="1",
            heartbeat_at=datetime.now(UTC) - timedelta(minutes=5), started_at=datetime.now(UTC) - timedelta(hours=1),
        )  # fmt: skip
        text = text_of(reader.get(HOME))

    assert "Workers 1 of 2 1 of 1 busy" in text
    assert "elsewhere:7 1 Silent idle 5m ago" in text
    assert "Live simulate-delay" in text


def test_a_worker_that_cannot_claim_is_shown_with_its_error(reader):
    with InProcessWorker() as healthy, InProcessWorker() as with_claim_error:
        Worker.objects.filter(pk=healthy.worker).update(host="healthy")
        Worker.objects.filter(pk=with_claim_error.worker).update(host="erring", claim_error="permission denied")
        text = text_of(reader.get(HOME))

    assert "Workers 1 of 2 1 cannot claim" in text
    assert "Claim error permission denied idle" in text
    assert text.index("erring:") < text.index("healthy:")


def test_cards_without_view_permission_are_left_out(viewer):
    client = client_of("tim", "view_task")

    text = text_of(client.get(HOME))

    assert "Needs attention" in text
    assert "Last 24 hours" not in text
    assert "Heartbeat" not in text
    assert "Pipelines" not in text


def test_hostile_errors_are_text(reader):
    task = demo_task.enqueue(DemoRequest(label="x"))
    with arranging():
        Task.objects.filter(pk=task.pk).update(
            status="failed",
            finished_at=datetime.now(UTC),
            error={"type": "<b>", "message": "<script>x</script>", "step": "<i>"},
        )
    advance(minutes=3)
    roll_up()

    page = reader.get(HOME).content.decode()

    assert "<script>x" not in page
    assert "&lt;script&gt;x" in page


def test_an_empty_overview_offers_the_example_task(admin, reader):
    assert "Run the example task" not in text_of(reader.get(HOME))
    assert "There are no tasks yet" in text_of(reader.get(HOME))
    assert "Run the example task" in text_of(admin.get(HOME))

    response = admin.post("/admin/taskqueue/overview/first-task/")

    task = Task.objects.get()
    assert task.pipeline_id == "demo/task"
    assert response.url == f"/admin/taskqueue/task/{task.pk}/change/"
    assert LogEntry.objects.get().get_change_message() == "Submitted from the overview."
    cache.clear()
    assert "There are no tasks yet" not in text_of(admin.get(HOME))


def test_the_example_task_needs_post_permission_and_setting(admin, reader):
    assert reader.post("/admin/taskqueue/overview/first-task/").status_code == 403
    assert admin.get("/admin/taskqueue/overview/first-task/").status_code == 405
    with override_settings(TASKQUEUE={}):
        assert admin.post("/admin/taskqueue/overview/first-task/").status_code == 403
        assert "Run the example task" not in text_of(admin.get(HOME))
    assert not Task.objects.exists()


def test_a_page_that_takes_too_long_says_so(reader, monkeypatch):
    def too_long(*_values, **_more):
        raise OperationalError from QueryCanceled()

    monkeypatch.setattr(stats, "queue_depths", too_long)

    response = reader.get(HOME)

    assert response.status_code == 200
    assert "Reading this took longer than three seconds. Choose a shorter time range" in text_of(response)


def test_a_statement_of_the_overview_is_stopped_after_three_seconds(reader):
    with stats.time_limit(), connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("3s",)


def test_stopped_rollups_are_reported(reader):
    three_tasks()
    assert "Nothing has been counted" not in text_of(reader.get(HOME))

    old = datetime.now(UTC) - timedelta(minutes=30)
    RollupMark.objects.update(rolled_up_until=old, final_until=old, moved_at=old)
    cache.clear()

    assert f"Nothing has been counted since {old:%b %d, %H:%M} UTC" in text_of(reader.get(HOME))


def test_rollups_that_catch_up_are_reported(reader):
    three_tasks()
    now = datetime.now(UTC)
    old = now - timedelta(days=20)
    RollupMark.objects.update(rolled_up_until=old, final_until=old)

    text = text_of(reader.get(HOME))

    assert f"Older tasks are still being counted: {old:%b %d} of {now:%b %d}." in text
    assert "Nothing has been counted" not in text


@pytest.mark.parametrize(
    ("succeeded", "failed", "text", "tone"),
    [
        (3, 0, "100%", ""),
        (99_999, 1, "99.9%", ""),
        (98, 2, "98.0%", ""),
        (2, 1, "66.7%", "bad"),
        (0, 3, "0.0%", "bad"),
        (0, 0, "", ""),
    ],
)
def test_the_success_rate_is_100_only_without_failures(succeeded, failed, text, tone):
    assert (pipeline_stats.success_rate(succeeded, failed), pipeline_stats.success_tone(succeeded, failed)) == (
        text,
        tone,
    )


def test_a_pipeline_has_one_success_rate_on_every_page(reader):
    three_tasks()

    pages = [HOME, "/admin/taskqueue/pipeline/", "/admin/taskqueue/pipeline/demo_2Ftask/change/"]
    assert [re.findall(r"33(?:\.\d)?%", text_of(reader.get(page)))[0] for page in pages] == ["33.3%"] * 3


def test_a_failure_group_links_to_the_tasks_that_it_counts(reader):
    three_tasks()
    other = demo_task.enqueue(DemoRequest(label="x"))
    error = {"type": "KeyError", "message": "", "step": ""}
    with arranging():
        Task.objects.filter(pk=other.pk).update(status="failed", finished_at=Now() - timedelta(minutes=5), error=error)

    page = reader.get(HOME).content.decode()

    [group] = re.findall(r'<a class="tq-number" href="([^"]+)" title="See 2 failed tasks">', page)
    tasks = reader.get(unescape(group))
    assert "2 tasks" in text_of(tasks)
    assert str(other.pk) not in ids_on(tasks)


def test_the_latest_failure_comes_first(reader):
    made_first, made_last = (demo_task.enqueue(DemoRequest(label="x")) for _ in range(2))
    for task, minutes in ((made_first, 1), (made_last, 9)):
        error = {"type": f"Failed{minutes}", "message": "", "step": ""}
        with arranging():
            Task.objects.filter(pk=task.pk).update(
                status="failed", finished_at=Now() - timedelta(minutes=minutes), error=error
            )

    assert re.findall(r"<b>(Failed\d)</b>", reader.get(HOME).content.decode().partition("Recent failures")[2]) == [
        "Failed1",
        "Failed9",
    ]
