"""The list of tasks."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from demo.pipelines import DemoRequest, demo_task
from taskqueue.admin import pagination
from taskqueue.models import Task
from taskqueue.testing import advance, work
from tests.admin.pages import LIST, ids_on, text_of


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
    assert "Permanent simulated failure in simulate-api-call, as the request asked 2/5 1" in text


def test_a_retrying_task_tells_its_last_error_and_when_it_goes_on(viewer, retrying):
    text = text_of(viewer.get(LIST))

    assert re.search(r"Retrying (in 1s|just now|\d+s ago) demo/task", text)
    assert "ConnectionError simulated failure 1 of 2" in text


def test_the_number_of_queries_does_not_depend_on_the_number_of_tasks(admin, django_assert_num_queries, failed):
    with django_assert_num_queries(5):  # session, user, pipelines of the filter, count, tasks
        admin.get(LIST)
    for number in range(12):
        demo_task.using(key=f"key-{number}").enqueue(DemoRequest(label="more", delay_seconds=0))
    work()

    with django_assert_num_queries(5):
        admin.get(LIST)


def test_the_list_reads_neither_payloads_nor_results(admin, succeeded):
    with CaptureQueriesContext(
        connection,
    ) as queries:
        admin.get(LIST)

    [listing] = [query["sql"] for query in queries if 'ORDER BY "taskqueue_task"."id" DESC' in query["sql"]]
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
    assert "Finds ids and keys that begin with what you type" in text_of(viewer.get(LIST))


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

    assert "Scheduled in 2h demo/task" in text_of(viewer.get(LIST))
    assert "0/5 0 \N{EN DASH} \N{EN DASH}" in text_of(viewer.get(LIST))


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
