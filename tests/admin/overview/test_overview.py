"""The first page of the admin."""

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
from taskqueue.admin.overview.queries import FAILURES_SHOWN, recent_failures
from taskqueue.admin.pipelines import stats as pipeline_stats
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.maintenance.rollups import roll_up
from taskqueue.engine.queries import stats
from taskqueue.models import Pipeline, Rollup, RollupMark, Task, Worker
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.admin_pages import ids_on, text_of
from tests.support.database.backlogs import ENDED, forget_statistics, insert
from tests.support.database.plans import explain, walked
from tests.support.moves import arranging
from tests.support.users import client_of

HOME = "/admin/"
RIGHTS = ("view_task", "view_pipeline", "view_worker", "view_event", "view_schedule", "view_ratelimit")


@pytest.fixture
def onlooker():
    return client_of("olaf", *RIGHTS)


def three_tasks() -> None:
    """One that succeeds, two that fail in the same way, counted."""
    demo_task.enqueue(DemoRequest(label="fine", delay_seconds=0))
    for number in range(2):
        demo_task.using(key=f"bad-{number}").enqueue(
            DemoRequest(label="broken", delay_seconds=0, simulate_failure=True)
        )
    work()
    advance(minutes=4)
    roll_up()


def test_nobody_in_particular_is_asked_to_sign_in(client):
    assert client.get(HOME).url.startswith("/admin/login/")


def test_staff_who_may_not_see_tasks_get_the_list_of_apps_instead(stranger):
    text = text_of(stranger.get(HOME))

    assert "Overview" not in text
    assert "Ask an administrator of this site for permissions" in text


def test_what_the_tasks_came_to_is_told(onlooker):
    three_tasks()

    text = text_of(onlooker.get(HOME))

    assert "Failure rate 66.7 % 2 failed" in text
    assert "Waiting now 0 nothing waits" in text
    assert re.search(r"Throughput <?[\d.]+ /min 3 ended, none in the 6 hours before", text)
    assert re.search(r"Execution p95 [\d.]+m?s p50 [\d.]+m?s, p99 [\d.]+m?s, queue time p95 [\d.]+m?s", text)
    assert re.search(r"2 Permanent in demo/task . simulate-api-call simulated failure in simulate-api-call", text)
    assert "demo/task 3 ended 33.3%" in text
    assert "demo/task bad-1" in text


def test_each_tile_and_each_bar_leads_to_its_tasks(onlooker):
    three_tasks()

    page = onlooker.get(HOME).content.decode()

    addresses = {found.replace("&amp;", "&") for found in re.findall(r'href="(/admin/taskqueue/task/\?[^"]+)"', page)}
    assert len([address for address in addresses if "?ended=" in address]) >= 60
    found = {ids for address in addresses for ids in [onlooker.get(address).status_code]}
    assert found == {200}


def test_a_bar_leads_to_the_tasks_that_ended_in_its_time(onlooker):
    three_tasks()
    [bar] = [bar for bar in onlooker.get(HOME).context["slices"] if bar.stretch.failed]

    response = onlooker.get(bar.address)

    assert response.context["cl"].result_count == 3
    assert "UTC" in text_of(response)


@pytest.mark.parametrize("slice_", ["x", "a..b", "2026-01-01T00:00Z..2025-01-01T00:00Z"])
def test_a_slice_that_is_none_shows_everything(onlooker, slice_):
    assert onlooker.get("/admin/taskqueue/task/", {"ended": slice_}).status_code == 302


@pytest.mark.parametrize("name", ["1h", "6h", "24h", "7d"])
def test_every_range_tells_of_the_same_tasks(onlooker, name):
    three_tasks()

    response = onlooker.get(HOME, {"range": name})

    assert response.context["range"].name == name
    assert response.context["figures"].total.failed == 2
    assert "2 Permanent in demo/task" in text_of(response)


def test_a_range_that_does_not_exist_is_the_usual_one(onlooker):
    assert onlooker.get(HOME, {"range": "1y"}).context["range"].name == "6h"


def test_the_period_before_is_what_the_present_one_is_compared_with(onlooker):
    roll_up()
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    for hours, failed in ((2, 4), (8, 1)):
        Rollup.objects.create(
            span=1, at=now - timedelta(hours=hours), pipeline="", succeeded=100 - failed, failed=failed, ran=[0, 100]
        )

    text = text_of(onlooker.get(HOME))

    assert "Failure rate 4.0 % 4 failed, was 1.0%" in text
    assert re.search(
        r"/min 100 ended, (as in|[+-]\d% vs) the 6 hours before", text
    )  # the present period is not over yet


def test_percentiles_come_from_the_sum_of_the_histograms(onlooker):
    roll_up()
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    Rollup.objects.create(span=1, at=now - timedelta(minutes=5), pipeline="", succeeded=99, ran=[0] * 40 + [99])
    Rollup.objects.create(span=1, at=now - timedelta(minutes=6), pipeline="", succeeded=1, ran=[0] * 80 + [1])

    total = onlooker.get(HOME).context["figures"].total

    assert timedelta(seconds=1) <= total.took(0.95) <= timedelta(seconds=1.3)  # the mean of both would be ten minutes


def test_the_number_of_queries_does_not_depend_on_what_there_is(admin, django_assert_num_queries):
    three_tasks()
    queries = 16
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


def test_ten_who_look_cost_as_much_as_one(admin, onlooker, django_assert_num_queries):
    three_tasks()
    onlooker.get(HOME)

    with django_assert_num_queries(2):  # session and user
        assert "2 Permanent in demo/task" in text_of(admin.get(HOME))


def test_a_page_that_refreshes_itself_is_told_when_nothing_has_changed(onlooker, django_assert_num_queries):
    three_tasks()
    first = onlooker.get(HOME, headers={"X-TQ-Live": "1"})
    seen = {"X-TQ-Live": "1", "If-None-Match": first["ETag"]}

    again = onlooker.get(HOME, headers=seen)
    assert (again.status_code, again.content) == (304, b"")
    assert onlooker.get(HOME, {"range": "1h"}, headers=seen).status_code == 200
    assert client_of("other", *RIGHTS).get(HOME, headers=seen).status_code == 200

    demo_task.enqueue(DemoRequest(label="new"))
    cache.clear()
    assert onlooker.get(HOME, headers=seen).status_code == 200


def test_the_overview_counts_no_tasks(admin, django_assert_max_num_queries):
    three_tasks()

    with django_assert_max_num_queries(16) as queries:
        admin.get(HOME)

    touching = [query["sql"] for query in queries if "taskqueue_task" in query["sql"]]
    assert len(touching) == 3  # what stands in the queues and what is failed, capped, and the last failures
    assert all("LIMIT" in sql for sql in touching)


def test_waiting_tasks_are_told_with_the_age_of_the_oldest(onlooker, queued):
    advance(minutes=7)

    assert "Waiting now 1 oldest 7m" in text_of(onlooker.get(HOME))


def test_time_lost_to_limits_is_told_by_pipeline(onlooker):
    roll_up()
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    for minute in (5, 6):
        Rollup.objects.create(
            span=1, at=now - timedelta(minutes=minute), pipeline="demo/task", sampled_blocked_seconds=90
        )

    assert "Time lost to limits demo/task 3m 00s" in text_of(onlooker.get(HOME))


def test_workers_are_told_with_what_they_do_and_who_is_silent(onlooker, queued):
    with InProcessWorker() as worker:
        Worker.objects.filter(pk=worker.worker).update(task_id=queued.pk, step="simulate-delay", version="2")
        Worker.objects.create(
            host="elsewhere", pid=7, cluster="c", version="1",
            heartbeat_at=datetime.now(UTC) - timedelta(minutes=5), started_at=datetime.now(UTC) - timedelta(hours=1),
        )  # fmt: skip
        text = text_of(onlooker.get(HOME))

    assert "Workers 1 of 2 1 of 1 busy" in text
    assert "elsewhere:7 1 Silent idle 5m ago" in text
    assert "Live simulate-delay" in text


def test_a_worker_that_cannot_claim_is_told_with_its_reason(onlooker):
    with InProcessWorker() as able, InProcessWorker() as unable:
        Worker.objects.filter(pk=able.worker).update(host="able")
        Worker.objects.filter(pk=unable.worker).update(host="unable", claim_error="permission denied")
        text = text_of(onlooker.get(HOME))

    assert "Workers 1 of 2 1 cannot claim" in text
    assert "Claim error permission denied idle" in text
    assert text.index("unable:") < text.index(" able:")


def test_a_card_is_for_those_who_may_see_what_is_on_it(viewer):
    client = client_of("tim", "view_task")

    text = text_of(client.get(HOME))

    assert "Needs attention" in text
    assert "Last 24 hours" not in text
    assert "Heartbeat" not in text
    assert "Pipelines" not in text


def test_hostile_errors_are_text(onlooker):
    task = demo_task.enqueue(DemoRequest(label="x"))
    with arranging():
        Task.objects.filter(pk=task.pk).update(
            status="failed",
            finished_at=datetime.now(UTC),
            error={"type": "<b>", "message": "<script>x</script>", "step": "<i>"},
        )
    advance(minutes=3)
    roll_up()

    page = onlooker.get(HOME).content.decode()

    assert "<script>x" not in page
    assert "&lt;script&gt;x" in page


def test_an_empty_overview_offers_a_telling_task_to_those_who_may_send_one(admin, onlooker):
    assert "Send a telling task" not in text_of(onlooker.get(HOME))
    assert "There are no tasks yet" in text_of(onlooker.get(HOME))
    assert "Send a telling task" in text_of(admin.get(HOME))

    response = admin.post("/admin/taskqueue/overview/first-task/")

    task = Task.objects.get()
    assert task.pipeline_id == "demo/task"
    assert response.url == f"/admin/taskqueue/task/{task.pk}/change/"
    assert LogEntry.objects.get().get_change_message() == "Sent from the overview."
    cache.clear()
    assert "There are no tasks yet" not in text_of(admin.get(HOME))


def test_a_telling_task_is_sent_by_post_and_by_right(admin, onlooker):
    assert onlooker.post("/admin/taskqueue/overview/first-task/").status_code == 403
    assert admin.get("/admin/taskqueue/overview/first-task/").status_code == 405
    with override_settings(TASKQUEUE={}):
        assert admin.post("/admin/taskqueue/overview/first-task/").status_code == 403
        assert "Send a telling task" not in text_of(admin.get(HOME))
    assert not Task.objects.exists()


def test_a_page_that_takes_too_long_says_so(onlooker, monkeypatch):
    def too_long(*_values, **_more):
        raise OperationalError from QueryCanceled()

    monkeypatch.setattr(stats, "standing", too_long)

    response = onlooker.get(HOME)

    assert response.status_code == 200
    assert "This took longer than three seconds. Choose a shorter time range" in text_of(response)


def test_a_statement_of_the_overview_is_stopped_after_three_seconds(onlooker):
    with stats.time_limit(), connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("3s",)


def test_that_nobody_counts_is_told(onlooker):
    three_tasks()
    assert "Nothing has been counted" not in text_of(onlooker.get(HOME))

    old = datetime.now(UTC) - timedelta(minutes=30)
    RollupMark.objects.update(rolled_up_until=old, final_until=old, moved_at=old)
    cache.clear()

    assert f"Nothing has been counted since {old:%b %d, %H:%M} UTC" in text_of(onlooker.get(HOME))


def test_that_history_is_being_counted_is_told(onlooker):
    three_tasks()
    now = datetime.now(UTC)
    old = now - timedelta(days=20)
    RollupMark.objects.update(rolled_up_until=old, final_until=old)

    text = text_of(onlooker.get(HOME))

    assert f"Older tasks are still being counted: {old:%b %d} of {now:%b %d}." in text
    assert "Nothing has been counted" not in text


@pytest.mark.parametrize(
    ("succeeded", "failed", "told", "tone"),
    [
        (3, 0, "100%", ""),
        (99_999, 1, "99.9%", ""),
        (98, 2, "98.0%", ""),
        (2, 1, "66.7%", "bad"),
        (0, 3, "0.0%", "bad"),
        (0, 0, "", ""),
    ],
)
def test_success_is_whole_only_when_nothing_failed_and_red_when_too_much_did(succeeded, failed, told, tone):
    assert (pipeline_stats.share_of(succeeded, failed), pipeline_stats.tone_of(succeeded, failed)) == (told, tone)


def test_a_pipeline_has_one_success_rate_on_every_page(onlooker):
    three_tasks()

    pages = [HOME, "/admin/taskqueue/pipeline/", "/admin/taskqueue/pipeline/demo_2Ftask/change/"]
    assert [re.findall(r"33(?:\.\d)?%", text_of(onlooker.get(page)))[0] for page in pages] == ["33.3%"] * 3


def test_what_needs_attention_leads_to_the_tasks_that_it_counts(onlooker):
    three_tasks()
    other = demo_task.enqueue(DemoRequest(label="x"))
    error = {"type": "KeyError", "message": "", "step": ""}
    with arranging():
        Task.objects.filter(pk=other.pk).update(status="failed", finished_at=Now() - timedelta(minutes=5), error=error)

    page = onlooker.get(HOME).content.decode()

    [group] = re.findall(r'<a class="tq-number" href="([^"]+)" title="See 2 failed tasks">', page)
    tasks = onlooker.get(unescape(group))
    assert "2 tasks" in text_of(tasks)
    assert str(other.pk) not in ids_on(tasks)


def test_what_failed_last_comes_first(onlooker):
    made_first, made_last = (demo_task.enqueue(DemoRequest(label="x")) for _ in range(2))
    for task, minutes in ((made_first, 1), (made_last, 9)):
        error = {"type": f"Failed{minutes}", "message": "", "step": ""}
        with arranging():
            Task.objects.filter(pk=task.pk).update(
                status="failed", finished_at=Now() - timedelta(minutes=minutes), error=error
            )

    assert re.findall(r"<b>(Failed\d)</b>", onlooker.get(HOME).content.decode().partition("Recent failures")[2]) == [
        "Failed1",
        "Failed9",
    ]


def test_to_find_them_reads_no_more_than_it_shows():
    forget_statistics()
    with InProcessWorker() as worker:
        sync_pipelines()
        insert(ENDED, "demo/task", 20_000, worker=worker.row.pk)
        with arranging(), connection.cursor() as cursor:
            cursor.execute(
                "UPDATE taskqueue_task SET status = 'failed', error = '{}' WHERE id IN "
                "(SELECT id FROM taskqueue_task ORDER BY random() LIMIT 2000)"
            )
            cursor.execute("UPDATE taskqueue_task SET finished_at = now() - random() * interval '1 day'")
            cursor.execute("ANALYZE taskqueue_task")
        tree = explain(*recent_failures()[:FAILURES_SHOWN].query.sql_with_params())

    assert "taskqueue_task_failed" in {node.get("Index Name") for node in tree}
    assert not walked(tree)
    assert max(node["Actual Rows"] for node in tree) <= FAILURES_SHOWN + 1
