"""Pipelines and workers: to be read, not to be changed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from taskqueue.models import Pipeline, Pruning, Worker
from tests.admin.pages import page_of, text_of

PIPELINES = "/admin/taskqueue/pipeline/"
DEMO = f"{PIPELINES}demo_2Ftask/change/"
WORKERS = "/admin/taskqueue/worker/"


def register(**more) -> Worker:
    facts = {"host": "moon", "pid": 7, "cluster": "c", "version": "1.2", **more}
    return Worker.objects.create(**facts)


@pytest.mark.parametrize("address", [PIPELINES, DEMO, WORKERS])
def test_viewing_needs_the_right_to(address, client, stranger, viewer):
    assert client.get(address).url.startswith("/admin/login/")
    assert stranger.get(address).status_code == 403
    assert viewer.get(address).status_code == 200


@pytest.mark.parametrize("address", [f"{PIPELINES}add/", f"{WORKERS}add/", f"{PIPELINES}demo_2Ftask/delete/"])
def test_nothing_is_added_or_deleted_by_hand(admin, address):
    assert admin.get(address).status_code == 403


def test_nothing_is_changed_by_hand(admin):
    assert admin.post(DEMO, {"description": "mine"}).status_code == 403


def test_a_pipeline_shows_its_steps_policies_and_example(viewer):
    text = text_of(viewer.get(DEMO))

    assert "Five steps: some work, a wait" in text
    assert "simulate-delay 4 retries, after 1s, 2s, 4s, 8s 1m 30s no" in text
    assert "5 retries, after 5m, 30m, 2h, 6h, 15h 25m" in text
    assert '"failures_before_success": 1' in text
    assert "DemoRequest" in text


def test_a_pipeline_says_how_long_its_history_is_kept_and_how_much_has_gone(viewer):
    assert "kept for 30d after their end. None has been pruned yet." in text_of(viewer.get(DEMO))

    Pipeline.objects.filter(pk="demo/task").update(keep=timedelta(hours=36))
    Pruning.objects.update_or_create(pk="demo/task", defaults={"total": 12_345, "pruned_at": Now()})
    assert "kept for 1d 12h after their end. Pruned: 12,345 in all, the last 20" in text_of(viewer.get(DEMO))

    Pipeline.objects.filter(pk="demo/task").update(keep_for_ever=True)
    assert "kept for ever" in text_of(viewer.get(DEMO))


def test_a_pipeline_leads_to_its_tasks(viewer, queued):
    assert "/admin/taskqueue/task/?pipeline=demo%2Ftask" in viewer.get(DEMO).content.decode()


def test_the_lists_need_a_fixed_number_of_queries(admin, django_assert_num_queries, pipeline_without_code):
    for number in range(5):
        register(pid=number)
    for address in (PIPELINES, WORKERS):
        with django_assert_num_queries(4):  # session, user, count, rows
            admin.get(address)


def test_workers_are_live_silent_or_ended(viewer, queued):
    register(host="mars", task_id=queued.pk, step="simulate-delay", step_started_at=Now() - timedelta(seconds=125))
    register(host="pluto", beat_at=Now() - timedelta(minutes=3))
    register(host="vulcan", ended_at=Now(), end_reason="its process ended or fell silent", task_id=queued.pk)

    response = viewer.get(WORKERS)

    text = text_of(response)
    assert "Live mars:7 1.2 just now simulate-delay" in text
    assert "2m 05s" in text
    assert "Silent pluto:7 1.2 3m ago \N{EN DASH} \N{EN DASH}" in text
    assert "Ended its process ended or fell silent vulcan:7" in text
    assert response.content.decode().count(page_of(queued)) == 1
    assert text.index("pluto") < text.index("mars") < text.index("vulcan")
