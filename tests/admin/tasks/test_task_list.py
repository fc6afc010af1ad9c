"""The list of tasks."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from demo.pipelines import DemoRequest, demo_task
from taskqueue.admin.shared import pagination
from taskqueue.admin.shared.filters import format_time_range
from taskqueue.engine.maintenance.rollups import roll_up
from taskqueue.models import Task, Worker
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.admin_pages import LIST, ids_on, page_of, text_of
from tests.support.moves import arranging


def test_an_anonymous_user_is_redirected_to_login(client):
    response = client.get(LIST)

    assert response.status_code == 302
    assert response.url.startswith("/admin/login/")


def test_staff_without_view_permission_is_refused(stranger):
    assert stranger.get(LIST).status_code == 403


def test_an_empty_list_says_how_to_submit_a_task(viewer):
    text = text_of(viewer.get(LIST))

    assert "No tasks yet. Submit one with POST /api/tasks , or run manage.py demo ." in text


def test_a_filter_without_matches_offers_all_tasks(viewer, queued):
    text = text_of(viewer.get(LIST, {"status": "failed"}))

    assert "No tasks match. Show all tasks" in text


def test_tasks_are_listed_newest_first_with_status_and_error(viewer, failed, queued):
    response = viewer.get(LIST)

    assert ids_on(response) == [str(queued.pk), str(failed.pk)]
    text = text_of(response)
    assert "Queued demo/task" in text
    assert "Permanent simulated failure in simulate-api-call, as the request asked 2/5 simulate-api-call 1" in text


def test_a_retrying_task_shows_its_last_error_and_next_attempt(viewer, retrying):
    text = text_of(viewer.get(LIST))

    assert re.search(r"Retrying (retries in 1s|due now) demo/task", text)
    assert "ConnectionError simulated failure 1 of 2" in text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"status": "scheduled", "due_at": Now() + timedelta(seconds=570)}, "Scheduled runs in 9m"),
        ({"status": "waiting", "due_at": Now() + timedelta(seconds=570)}, "Waiting runs in 9m"),
        ({"status": "retrying", "due_at": Now() + timedelta(seconds=570)}, "Retrying retries in 9m"),
        ({"status": "retrying", "due_at": Now() - timedelta(seconds=5)}, "Retrying due now"),
        ({"status": "waiting", "due_at": None, "sort_at": None}, "Waiting demo/task"),
    ],
)
def test_the_status_shows_what_happens_at_the_due_time(viewer, queued, values, text):
    with arranging():
        Task.objects.filter(pk=queued.pk).update(**{"sort_at": values["due_at"], **values})

    assert text in text_of(viewer.get(LIST))


def test_query_count_is_independent_of_the_number_of_tasks(admin, django_assert_num_queries, failed):
    # session, user, three around the time limit, pipelines and error types of the filters, count, ids, tasks, counts of
    # the tabs, the database's time, the histogram
    with django_assert_num_queries(13):
        admin.get(LIST)
    for number in range(12):
        demo_task.using(key=f"key-{number}").enqueue(DemoRequest(label="more", delay_seconds=0))
    work()

    with django_assert_num_queries(13):
        admin.get(LIST)


def test_the_list_reads_neither_payloads_nor_results(admin, succeeded):
    with CaptureQueriesContext(
        connection,
    ) as queries:
        admin.get(LIST)

    [listing] = [query["sql"] for query in queries if '"steps_done"' in query["sql"]]
    assert '"taskqueue_task"."payload"' not in listing
    assert '"taskqueue_task"."result"' not in listing


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"status": "failed"}, {"failed"}),
        ({"status": "failed,queued"}, {"failed", "queued"}),
        ({"pipeline": "demo/task"}, {"failed", "queued", "unsteady"}),
        ({"retried": "yes"}, {"failed", "unsteady"}),
        ({"retried": "no"}, {"queued"}),
        ({"created": "15m", "status": "queued"}, {"queued"}),
    ],
)
def test_filters_narrow_the_list(viewer, failed, retrying, queued, query, found):
    names = {str(failed.pk): "failed", str(retrying.pk): "unsteady", str(queued.pk): "queued"}

    assert {names[task_id] for task_id in ids_on(viewer.get(LIST, query))} == found


def test_the_age_filter_uses_the_creation_time(viewer, queued):
    advance(minutes=20)

    assert ids_on(viewer.get(LIST, {"created": "15m"})) == []
    assert ids_on(viewer.get(LIST, {"created": "1h"})) == [str(queued.pk)]


@pytest.mark.parametrize(
    "query",
    [
        {"status": "done"},
        {"pipeline": "no/such"},
        {"pipeline": "\0"},
        {"created": "1y"},
        {"retried": "maybe"},
        {"label": "tenant"},
        {"id__lt": "nonsense"},
        {"created_at__gte": "yesterday"},
        {"created_at__lt": "0001-01-01T00:00:00Z"},
        {"error": "\0"},
        {"ended": "yesterday"},
        {"ended": ""},
        {"ended": "2026-01-01..2026-01-02"},
        {"ended": "2026-05-04T10:00Z..2026-05-04T10:00Z"},
        {"x": "y"},
    ],
)
def test_an_invalid_filter_redirects_to_the_whole_list(viewer, queued, query):
    response = viewer.get(LIST, query)

    assert response.status_code == 302
    assert response.url == f"{LIST}?e=1"


def test_search_finds_a_prefix_of_an_id_or_key(viewer, queued):
    keyed = demo_task.using(key="Order-1").enqueue(DemoRequest(label="keyed"))

    for term in (str(keyed.pk), str(keyed.pk).upper(), keyed.pk.hex, keyed.pk.hex[:24], " Order", "Order-1"):
        assert ids_on(viewer.get(LIST, {"q": term})) == [str(keyed.pk)], term
    for term in (str(keyed.pk)[-6:] + "-no", "rder", "order", "%", "Order-12", "0" * 33):
        assert ids_on(viewer.get(LIST, {"q": term})) == [], term
    assert set(ids_on(viewer.get(LIST, {"q": "0"}))) == {str(keyed.pk), str(queued.pk)}


def test_the_search_help_is_shown(viewer, queued):
    assert "Search by ID or key prefix (case-sensitive)" in text_of(viewer.get(LIST))


def test_the_status_filter_takes_several_statuses(viewer, failed, queued):
    response = viewer.get(LIST, {"status": "queued,failed"})

    assert ids_on(response) == [str(queued.pk), str(failed.pk)]
    current = [tab["status"] for tab in response.context["cl"].tabs() if tab["is_current"]]
    assert current == ["queued", "failed"]


def test_a_label_narrows_the_list(viewer, queued):
    labelled = demo_task.using(labels={"tenant": "acme"}).enqueue(DemoRequest(label="labelled"))

    assert ids_on(viewer.get(LIST, {"label": "tenant=acme"})) == [str(labelled.pk)]
    assert ids_on(viewer.get(LIST, {"label": "tenant:acme"})) == [str(labelled.pk)]
    assert ids_on(viewer.get(LIST, {"label": "tenant=other"})) == []


def test_error_types_are_offered_and_narrow_the_list(viewer, failed, retrying):
    response = viewer.get(LIST, {"error": "ConnectionError"})

    assert ids_on(response) == [str(retrying.pk)]
    [offered] = [spec for spec in response.context["cl"].filter_specs if spec.title == "error type"]
    assert [name for name, _label in offered.lookup_choices] == ["ConnectionError", "Permanent"]
    assert ids_on(viewer.get(LIST, {"error": "NoSuch"})) == []


def test_tabs_count_each_status_and_put_empty_ones_last(viewer, failed, queued):
    tabs = viewer.get(LIST).context["cl"].tabs()

    assert [(tab["label"], tab["count"]) for tab in tabs[:3]] == [("All", "2"), ("Queued", "1"), ("Failed", "1")]
    assert {tab["count"] for tab in tabs[3:]} == {"0"}
    assert [tab["is_zero"] for tab in tabs] == [False] * 3 + [True] * 6


def test_tabs_count_no_further_than_they_show(viewer, monkeypatch):
    monkeypatch.setattr("taskqueue.admin.tasks.tabs.MAX_COUNT", 2)
    for _ in range(4):
        demo_task.enqueue(DemoRequest(label="many"))

    tabs = viewer.get(LIST).context["cl"].tabs()

    assert [(tab["label"], tab["count"]) for tab in tabs[:2]] == [("All", "2+"), ("Queued", "2+")]


def test_tabs_keep_other_filters_and_then_show_no_counts(viewer, failed, queued):
    tabs = viewer.get(LIST, {"pipeline": "demo/task", "q": "0"}).context["cl"].tabs()

    assert {tab["count"] for tab in tabs} == {""}
    assert [tab["address"] for tab in tabs[:2]] == [
        "?pipeline=demo%2Ftask&q=0",
        "?pipeline=demo%2Ftask&q=0&status=scheduled",
    ]


def test_histogram_bars_link_to_tasks_and_are_one_tab_stop(viewer, failed, succeeded):
    advance(minutes=4)
    roll_up()
    page = viewer.get(LIST, {"status": "failed"}).content.decode()

    assert "2 tasks ended in 24 hours, 1 failed" in page
    bars = re.findall(r'<a href="([^"]*ended=[^"]*)" tabindex="(-?\d)" aria-label="([^"]+)"', page)
    assert len(bars) == 96
    assert [stop for _address, stop, _words in bars] == ["-1"] * 95 + ["0"]
    [found] = [unescape(address) for address, _stop, words in bars if "2 tasks ended, 1 failed" in words]
    assert ids_on(viewer.get(LIST + found)) == [str(failed.pk)]


@pytest.mark.parametrize(
    ("query", "summary"),
    [
        ({}, "1 task ended in 24 hours, 1 failed"),
        ({"pipeline": "demo/task"}, "1 task of demo/task ended in 24 hours, 1 failed"),
        ({"pipeline": "demo/print"}, "0 tasks of demo/print ended in 24 hours, 0 failed"),
        ({"q": "broken"}, "1 task of all pipelines ended in 24 hours, 1 failed"),
    ],
)
def test_the_histogram_follows_the_pipeline_filter(viewer, failed, query, summary):
    advance(minutes=4)
    roll_up()

    assert summary in text_of(viewer.get(LIST, query))


def test_a_creation_time_range_is_shown(viewer, queued):
    advance(minutes=30)
    created = {"created_at__gte": f"{queued.created_at - timedelta(minutes=31):%Y-%m-%dT%H:%M:%SZ}"}

    response = viewer.get(LIST, {**created, "created_at__lt": f"{queued.created_at:%Y-%m-%dT%H:%M:%SZ}"})

    assert ids_on(response) == [str(queued.pk)]
    assert "Created: from " in text_of(response)
    assert ids_on(viewer.get(LIST, {"created_at__gte": f"{queued.created_at:%Y-%m-%dT%H:%M:%SZ}"})) == []


def test_the_list_shows_tasks_that_ended_in_a_time_range(viewer, failed, queued):
    ended = failed.finished_at
    during = format_time_range(ended - timedelta(minutes=5), ended + timedelta(minutes=5))
    before = format_time_range(ended - timedelta(minutes=15), ended - timedelta(minutes=5))

    response = viewer.get(LIST, {"ended": during})

    assert ids_on(response) == [str(failed.pk)]
    assert "Ended: " in text_of(response)
    assert ids_on(viewer.get(LIST, {"ended": during, "status": "failed,cancelled"})) == [str(failed.pk)]
    assert ids_on(viewer.get(LIST, {"ended": before})) == []


def test_hostile_values_are_escaped(viewer, failed):
    hostile = '"><script>alert(1)</script>'
    Task.objects.filter(pk=failed.pk).update(
        key=hostile[:50], error={"type": hostile, "message": hostile}, labels={hostile: hostile}
    )

    for query in (
        {},
        {"label": f"{hostile}={hostile}"},
        {"error": hostile},
        {"q": hostile},
        {"q": f"errors:{hostile}"},
    ):
        assert "<script>alert" not in viewer.get(LIST, query).content.decode()


def test_a_running_task_shows_its_step_and_worker(viewer, queued):
    with InProcessWorker() as worker:
        Task.objects.filter(pk=queued.pk).update(
            status="running", worker=worker.row, started_at=Now(), slot_acquired_at=Now(), lease=1
        )
        Worker.objects.filter(pk=worker.row.pk).update(task_id=queued.pk, step="simulate-processing")

        text = text_of(viewer.get(LIST))

    assert "0/5 simulate-processing 1" in text
    assert f"{worker.row.host}:{worker.row.pid}" in text


def test_a_task_beyond_its_known_steps_has_one_more_step(viewer, succeeded):
    assert "5 steps" in text_of(viewer.get(LIST))
    assert "Steps 5 Failed attempts 0" in text_of(viewer.get(page_of(succeeded)))
    with arranging():
        Task.objects.update(status="waiting", result=None, finished_at=None, due_at=None, sort_at=None)
    assert "5/6" in text_of(viewer.get(LIST))
    assert "Steps done 5/6" in text_of(viewer.get(page_of(succeeded)))


def test_a_second_attempt_is_highlighted(viewer, retrying):
    assert '<span class="tq-attempts" title="1 failed attempt in total">2</span>' in viewer.get(LIST).content.decode()


def test_a_slow_query_suggests_a_narrower_filter(viewer, queued, monkeypatch):
    def slow(_task_filter):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(10)")

    monkeypatch.setattr("taskqueue.engine.queries.filters.oldest_scanned", slow)
    with override_settings(TASKQUEUE={"DASHBOARD_TIMEOUT": timedelta(milliseconds=50)}):
        response = viewer.get(LIST, {"status": "failed"})

    assert response.status_code == 503
    assert "Narrow the time range" in text_of(response)
    assert "?status=failed&amp;created=1h" in response.content.decode()


def test_a_bounded_search_continues_with_older_tasks(viewer, monkeypatch):
    monkeypatch.setattr("taskqueue.engine.queries.filters.SCAN_LIMIT", 2)
    tasks = [demo_task.using(labels={"a": "b"}).enqueue(DemoRequest(label="many")) for _ in range(5)]

    response = viewer.get(LIST, {"label": "a=b"})

    assert ids_on(response) == [str(task.pk) for task in (tasks[4], tasks[3])]
    assert "2 tasks among the newest 2 searched Search older tasks" in text_of(response)
    deeper = response.context["cl"].deeper_query
    assert ids_on(viewer.get(LIST + deeper)) == [str(task.pk) for task in (tasks[2], tasks[1])]


def test_a_capped_list_links_to_older_tasks(viewer, monkeypatch):
    monkeypatch.setattr(pagination, "CAP", 100)
    tasks = [demo_task.enqueue(DemoRequest(label="many")) for _ in range(103)]

    last_page = viewer.get(LIST, {"p": 2})

    assert "tasks; pages end at the newest 10,000" in text_of(last_page)
    assert last_page.context["cl"].older_query == f"?id__lt={tasks[3].pk}"
    assert ids_on(viewer.get(LIST + last_page.context["cl"].older_query)) == [str(task.pk) for task in tasks[2::-1]]


def test_a_list_under_the_cap_shows_the_exact_count(viewer, queued):
    assert "Older tasks" not in text_of(viewer.get(LIST))
    assert "1 task" in text_of(viewer.get(LIST))


def test_a_scheduled_task_shows_its_run_time_and_no_queue_time(viewer):
    run_at = datetime.now(UTC) + timedelta(hours=2, minutes=30)
    demo_task.using(run_at=run_at).enqueue(DemoRequest(label="later"))

    assert "Scheduled runs in 2h demo/task" in text_of(viewer.get(LIST))
    assert "0/5 \N{EN DASH} \N{EN DASH} \N{EN DASH}" in text_of(viewer.get(LIST))


def test_tasks_of_a_removed_pipeline_are_shown(viewer, queued, pipeline_without_code):
    Task.objects.filter(pk=queued.pk).update(pipeline=pipeline_without_code)

    assert "gone/away" in text_of(viewer.get(LIST))


def test_tasks_cannot_be_added_or_deleted(admin, queued):
    assert admin.get(f"{LIST}add/").status_code == 403
    assert admin.get(f"{LIST}{queued.pk}/delete/").status_code == 403


@pytest.mark.parametrize("query", ["key=%00", "key__regex=(", "payload__a=%00", "created_at__year=99999999"])
def test_lookups_on_other_columns_are_refused(admin_client, query):
    response = admin_client.get(f"/admin/taskqueue/task/?{query}")

    assert response.status_code in {302, 400}


def test_a_pipeline_name_with_nul_is_not_found(admin_client):
    assert admin_client.get("/admin/taskqueue/pipeline/%00/change/").status_code == 302
