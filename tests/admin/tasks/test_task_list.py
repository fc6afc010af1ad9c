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
from taskqueue.admin.shared.filters import written_slice
from taskqueue.engine.maintenance.rollups import roll_up
from taskqueue.models import Task, Worker
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.admin_pages import LIST, ids_on, page_of, text_of
from tests.support.moves import arranging


def test_nobody_in_particular_is_asked_to_sign_in(client):
    response = client.get(LIST)

    assert response.status_code == 302
    assert response.url.startswith("/admin/login/")


def test_staff_without_the_right_to_view_tasks_sees_none(stranger):
    assert stranger.get(LIST).status_code == 403


def test_an_empty_list_says_how_to_send_a_task(viewer):
    text = text_of(viewer.get(LIST))

    assert "There are no tasks yet. Send one with POST /api/tasks , or try manage.py demo ." in text


def test_a_filter_that_matches_nothing_says_so_and_offers_the_way_back(viewer, queued):
    text = text_of(viewer.get(LIST, {"status": "failed"}))

    assert "No task matches. Show all tasks" in text


def test_newest_come_first_with_what_an_operator_wants_to_know(viewer, failed, queued):
    response = viewer.get(LIST)

    assert ids_on(response) == [str(queued.pk), str(failed.pk)]
    text = text_of(response)
    assert "Queued demo/task" in text
    assert "Permanent simulated failure in simulate-api-call, as the request asked 2/5 simulate-api-call 1" in text


def test_a_retrying_task_tells_its_last_error_and_when_it_goes_on(viewer, retrying):
    text = text_of(viewer.get(LIST))

    assert re.search(r"Retrying (retries in 1s|due now) demo/task", text)
    assert "ConnectionError simulated failure 1 of 2" in text


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"status": "scheduled", "due_at": Now() + timedelta(seconds=570)}, "Scheduled runs in 9m"),
        ({"status": "waiting", "due_at": Now() + timedelta(seconds=570)}, "Waiting runs in 9m"),
        ({"status": "retrying", "due_at": Now() + timedelta(seconds=570)}, "Retrying retries in 9m"),
        ({"status": "retrying", "due_at": Now() - timedelta(seconds=5)}, "Retrying due now"),
        ({"status": "waiting", "due_at": None, "sort_at": None}, "Waiting demo/task"),
    ],
)
def test_under_a_status_stands_what_its_time_means(viewer, queued, facts, said):
    with arranging():
        Task.objects.filter(pk=queued.pk).update(**{"sort_at": facts["due_at"], **facts})

    assert said in text_of(viewer.get(LIST))


def test_the_number_of_queries_does_not_depend_on_the_number_of_tasks(admin, django_assert_num_queries, failed):
    # session, user, three around the time allowed, pipelines and errors of the filters, count, ids, tasks, the numbers
    # of the tabs, the present moment, the bars
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
    ("question", "found"),
    [
        ({"status": "failed"}, {"failed"}),
        ({"status": "failed,queued"}, {"failed", "queued"}),
        ({"pipeline": "demo/task"}, {"failed", "queued", "unsteady"}),
        ({"retried": "yes"}, {"failed", "unsteady"}),
        ({"retried": "no"}, {"queued"}),
        ({"created": "15m", "status": "queued"}, {"queued"}),
    ],
)
def test_filters_narrow_the_list(viewer, failed, retrying, queued, question, found):
    names = {str(failed.pk): "failed", str(retrying.pk): "unsteady", str(queued.pk): "queued"}

    assert {names[known] for known in ids_on(viewer.get(LIST, question))} == found


def test_the_filter_by_age_goes_by_the_time_of_making(viewer, queued):
    advance(minutes=20)

    assert ids_on(viewer.get(LIST, {"created": "15m"})) == []
    assert ids_on(viewer.get(LIST, {"created": "1h"})) == [str(queued.pk)]


@pytest.mark.parametrize(
    "question",
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
def test_a_filter_that_does_not_exist_shows_everything(viewer, queued, question):
    response = viewer.get(LIST, question)

    assert response.status_code == 302
    assert response.url == f"{LIST}?e=1"


def test_search_finds_the_beginning_of_an_id_or_a_key(viewer, queued):
    keyed = demo_task.using(key="Order-1").enqueue(DemoRequest(label="keyed"))

    for term in (str(keyed.pk), str(keyed.pk).upper(), keyed.pk.hex, keyed.pk.hex[:24], " Order", "Order-1"):
        assert ids_on(viewer.get(LIST, {"q": term})) == [str(keyed.pk)], term
    for term in (str(keyed.pk)[-6:] + "-no", "rder", "order", "%", "Order-12", "0" * 33):
        assert ids_on(viewer.get(LIST, {"q": term})) == [], term
    assert set(ids_on(viewer.get(LIST, {"q": "0"}))) == {str(keyed.pk), str(queued.pk)}


def test_the_rule_of_the_search_is_stated(viewer, queued):
    assert "Search by ID or key prefix (case-sensitive)" in text_of(viewer.get(LIST))


def test_the_filter_of_a_status_may_name_several(viewer, failed, queued):
    response = viewer.get(LIST, {"status": "queued,failed"})

    assert ids_on(response) == [str(queued.pk), str(failed.pk)]
    current = [tab.status for tab in response.context["cl"].tabs() if tab.is_current]
    assert current == ["queued", "failed"]


def test_a_label_narrows_the_list(viewer, queued):
    labelled = demo_task.using(labels={"tenant": "acme"}).enqueue(DemoRequest(label="labelled"))

    assert ids_on(viewer.get(LIST, {"label": "tenant=acme"})) == [str(labelled.pk)]
    assert ids_on(viewer.get(LIST, {"label": "tenant:acme"})) == [str(labelled.pk)]
    assert ids_on(viewer.get(LIST, {"label": "tenant=other"})) == []


def test_the_types_of_errors_are_offered_and_narrow_the_list(viewer, failed, retrying):
    response = viewer.get(LIST, {"error": "ConnectionError"})

    assert ids_on(response) == [str(retrying.pk)]
    [offered] = [spec for spec in response.context["cl"].filter_specs if spec.title == "error type"]
    assert [name for name, _label in offered.lookup_choices] == ["ConnectionError", "Permanent"]
    assert ids_on(viewer.get(LIST, {"error": "NoSuch"})) == []


def test_the_tabs_count_each_status_and_put_the_empty_ones_last(viewer, failed, queued):
    tabs = viewer.get(LIST).context["cl"].tabs()

    assert [(tab.label, tab.count) for tab in tabs[:3]] == [("All", "2"), ("Queued", "1"), ("Failed", "1")]
    assert {tab.count for tab in tabs[3:]} == {"0"}
    assert [tab.is_zero for tab in tabs] == [False] * 3 + [True] * 6


def test_the_tabs_count_no_further_than_they_show(viewer, monkeypatch):
    monkeypatch.setattr("taskqueue.admin.tasks.tabs.MOST", 2)
    for _ in range(4):
        demo_task.enqueue(DemoRequest(label="many"))

    tabs = viewer.get(LIST).context["cl"].tabs()

    assert [(tab.label, tab.count) for tab in tabs[:2]] == [("All", "2+"), ("Queued", "2+")]


def test_the_tabs_keep_the_other_filters_and_tell_no_numbers_that_are_not_the_lists(viewer, failed, queued):
    tabs = viewer.get(LIST, {"pipeline": "demo/task", "q": "0"}).context["cl"].tabs()

    assert {tab.count for tab in tabs} == {""}
    assert [tab.address for tab in tabs[:2]] == [
        "?pipeline=demo%2Ftask&q=0",
        "?pipeline=demo%2Ftask&q=0&status=scheduled",
    ]


def test_the_bars_of_the_day_lead_to_their_tasks_and_are_one_stop_of_the_tab_key(viewer, failed, succeeded):
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
    ("narrowed", "said"),
    [
        ({}, "1 task ended in 24 hours, 1 failed"),
        ({"pipeline": "demo/task"}, "1 task of demo/task ended in 24 hours, 1 failed"),
        ({"pipeline": "demo/print"}, "0 tasks of demo/print ended in 24 hours, 0 failed"),
        ({"q": "broken"}, "1 task of all pipelines ended in 24 hours, 1 failed"),
    ],
)
def test_the_bars_follow_the_pipeline_and_say_whose_tasks_they_count(viewer, failed, narrowed, said):
    advance(minutes=4)
    roll_up()

    assert said in text_of(viewer.get(LIST, narrowed))


def test_a_slice_of_time_is_shown_and_can_be_left(viewer, queued):
    advance(minutes=30)
    slice_of = {"created_at__gte": f"{queued.created_at - timedelta(minutes=31):%Y-%m-%dT%H:%M:%SZ}"}

    response = viewer.get(LIST, {**slice_of, "created_at__lt": f"{queued.created_at:%Y-%m-%dT%H:%M:%SZ}"})

    assert ids_on(response) == [str(queued.pk)]
    assert "Created: from " in text_of(response)
    assert ids_on(viewer.get(LIST, {"created_at__gte": f"{queued.created_at:%Y-%m-%dT%H:%M:%SZ}"})) == []


def test_the_list_shows_what_ended_in_a_slice_of_time(viewer, failed, queued):
    ended = failed.finished_at
    during = written_slice(ended - timedelta(minutes=5), ended + timedelta(minutes=5))
    before = written_slice(ended - timedelta(minutes=15), ended - timedelta(minutes=5))

    response = viewer.get(LIST, {"ended": during})

    assert ids_on(response) == [str(failed.pk)]
    assert "Ended: " in text_of(response)
    assert ids_on(viewer.get(LIST, {"ended": during, "status": "failed,cancelled"})) == [str(failed.pk)]
    assert ids_on(viewer.get(LIST, {"ended": before})) == []


def test_what_is_hostile_is_shown_and_does_nothing(viewer, failed):
    hostile = '"><script>alert(1)</script>'
    Task.objects.filter(pk=failed.pk).update(
        key=hostile[:50], error={"type": hostile, "message": hostile}, labels={hostile: hostile}
    )

    for question in (
        {},
        {"label": f"{hostile}={hostile}"},
        {"error": hostile},
        {"q": hostile},
        {"q": f"errors:{hostile}"},
    ):
        assert "<script>alert" not in viewer.get(LIST, question).content.decode()


def test_a_running_task_shows_its_step_and_its_worker(viewer, queued):
    with InProcessWorker() as worker:
        Task.objects.filter(pk=queued.pk).update(
            status="running", worker=worker.row, started_at=Now(), slot_acquired_at=Now(), lease=1
        )
        Worker.objects.filter(pk=worker.row.pk).update(task_id=queued.pk, step="simulate-processing")

        text = text_of(viewer.get(LIST))

    assert "0/5 simulate-processing 1" in text
    assert f"{worker.row.host}:{worker.row.pid}" in text


def test_a_task_that_goes_on_after_the_known_steps_has_more_ahead(viewer, succeeded):
    assert "5 steps" in text_of(viewer.get(LIST))
    assert "Steps 5 Failed attempts 0" in text_of(viewer.get(page_of(succeeded)))
    with arranging():
        Task.objects.update(status="waiting", result=None, finished_at=None, due_at=None, sort_at=None)
    assert "5/6" in text_of(viewer.get(LIST))
    assert "Steps done 5/6" in text_of(viewer.get(page_of(succeeded)))


def test_the_attempt_is_told_in_amber_from_the_second_on(viewer, retrying):
    assert '<span class="tq-tries" title="1 failed attempt in all">2</span>' in viewer.get(LIST).content.decode()


def test_a_question_that_takes_too_long_gets_a_kind_answer(viewer, queued, monkeypatch):
    def slow(_selection):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(10)")

    monkeypatch.setattr("taskqueue.engine.queries.filters.floor_of", slow)
    with override_settings(TASKQUEUE={"DASHBOARD_TIMEOUT": timedelta(milliseconds=50)}):
        response = viewer.get(LIST, {"status": "failed"})

    assert response.status_code == 503
    assert "Narrow the time range" in text_of(response)
    assert "?status=failed&amp;created=1h" in response.content.decode()


def test_the_list_goes_on_below_a_search_that_ended(viewer, monkeypatch):
    monkeypatch.setattr("taskqueue.engine.queries.filters.SEARCHED", 2)
    tasks = [demo_task.using(labels={"a": "b"}).enqueue(DemoRequest(label="many")) for _ in range(5)]

    response = viewer.get(LIST, {"label": "a=b"})

    assert ids_on(response) == [str(task.pk) for task in (tasks[4], tasks[3])]
    assert "2 tasks among the newest 2 that were searched Search older tasks" in text_of(response)
    deeper = response.context["cl"].deeper_query
    assert ids_on(viewer.get(LIST + deeper)) == [str(task.pk) for task in (tasks[2], tasks[1])]


def test_a_capped_list_says_so_and_leads_on_to_older_tasks(viewer, monkeypatch):
    monkeypatch.setattr(pagination, "CAP", 100)
    tasks = [demo_task.enqueue(DemoRequest(label="many")) for _ in range(103)]

    last_page = viewer.get(LIST, {"p": 2})

    assert "tasks, of which the newest 10,000 are paged" in text_of(last_page)
    assert last_page.context["cl"].older_query == f"?id__lt={tasks[3].pk}"
    assert ids_on(viewer.get(LIST + last_page.context["cl"].older_query)) == [str(task.pk) for task in tasks[2::-1]]


def test_a_list_under_the_cap_tells_the_exact_number(viewer, queued):
    assert "Older tasks" not in text_of(viewer.get(LIST))
    assert "1 task" in text_of(viewer.get(LIST))


def test_a_scheduled_task_tells_when_it_runs_and_has_not_waited(viewer):
    run_at = datetime.now(UTC) + timedelta(hours=2, minutes=30)
    demo_task.using(run_at=run_at).enqueue(DemoRequest(label="later"))

    assert "Scheduled runs in 2h demo/task" in text_of(viewer.get(LIST))
    assert "0/5 \N{EN DASH} \N{EN DASH} \N{EN DASH}" in text_of(viewer.get(LIST))


def test_tasks_of_a_pipeline_whose_code_is_gone_are_shown(viewer, queued, pipeline_without_code):
    Task.objects.filter(pk=queued.pk).update(pipeline=pipeline_without_code)

    assert "gone/away" in text_of(viewer.get(LIST))


def test_tasks_are_neither_added_nor_deleted_by_hand(admin, queued):
    assert admin.get(f"{LIST}add/").status_code == 403
    assert admin.get(f"{LIST}{queued.pk}/delete/").status_code == 403


@pytest.mark.parametrize("query", ["key=%00", "key__regex=(", "payload__a=%00", "created_at__year=99999999"])
def test_what_is_no_filter_is_refused_rather_than_looked_up(admin_client, query):
    response = admin_client.get(f"/admin/taskqueue/task/?{query}")

    assert response.status_code in {302, 400}


def test_a_pipeline_whose_name_no_row_can_have_is_not_found(admin_client):
    assert admin_client.get("/admin/taskqueue/pipeline/%00/change/").status_code == 302
