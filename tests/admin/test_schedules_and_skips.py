"""Skipped requests and schedules are read-only; a schedule can be run now."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db.models.functions import Now

from taskqueue import pipeline
from taskqueue.engine.catalog.sync import sync_pipeline
from taskqueue.engine.maintenance import cron
from taskqueue.models import Schedule, Skip, Task
from taskqueue.testing import work
from tests.support.admin_pages import messages_of, page_of, text_of
from tests.support.registries import own_registry
from tests.support.users import client_of

SKIPS = "/admin/taskqueue/skip/"
SCHEDULES = "/admin/taskqueue/schedule/"


@pytest.fixture
def skips(queued):
    Skip.objects.create(pipeline_id="demo/task", kind="duplicate", reason="Its key stands.", key="order-1", task=queued)
    Skip.objects.create(pipeline_id="demo/task", kind="misfire", reason="It came too late.")


@pytest.mark.parametrize("address", [SKIPS, SCHEDULES])
def test_viewing_needs_its_permission_and_adding_is_refused(address, client, stranger, viewer, admin):
    assert client.get(address).url.startswith("/admin/login/")
    assert stranger.get(address).status_code == 403
    assert viewer.get(address).status_code == 200
    assert admin.get(f"{address}add/").status_code == 403


def test_skips_are_listed_with_reason_and_task(viewer, skips, queued):
    response = viewer.get(SKIPS)

    text = text_of(response)
    assert "demo/task misfire It came too late." in text
    assert "demo/task duplicate Its key stands. order-1" in text
    assert text.index("misfire It") < text.index("duplicate Its")
    assert page_of(queued) in response.content.decode()


def test_skips_are_filtered_by_kind_and_pipeline(viewer, skips):
    assert "Its key stands." not in text_of(viewer.get(SKIPS, {"kind": "misfire"}))
    assert "Its key stands." in text_of(viewer.get(SKIPS, {"kind": "duplicate", "pipeline": "demo/task"}))
    assert viewer.get(SKIPS, {"kind": "no-such"}).status_code == 302


def test_schedules_show_the_next_run(viewer):
    Schedule.objects.create(
        pipeline_id="demo/task",
        expression="0 3 * * *",
        timezone="Europe/Berlin",
        misfire="once",
        next_at=Now() + timedelta(minutes=61),
    )

    text = text_of(viewer.get(SCHEDULES))

    assert "demo/task 0 3 * * * Europe/Berlin once in 1h \N{EN DASH} \N{EN DASH}" in text


def test_the_lists_need_a_fixed_number_of_queries(admin, skips, django_assert_num_queries):
    for address in (SKIPS, SCHEDULES):
        with django_assert_num_queries(5):  # session, user, the filter's pipelines, count, rows
            admin.get(address)


@pytest.fixture
def nightly():
    """A pipeline with a schedule, unregistered at the end: tests that set the time forward would start it."""
    with own_registry():

        @pipeline("adm/nightly", cron="0 3 * * *")
        def nightly(count: int = 3) -> int:
            return count

        sync_pipeline(nightly.definition)
        yield nightly


@pytest.fixture
def runner():
    return client_of("rose", "view_schedule", "view_task", "add_task")


def test_a_schedule_is_run_now_and_stays_as_it_was(runner, nightly):
    before = Schedule.objects.values().get(pk="adm/nightly")

    response = runner.post(f"{SCHEDULES}adm_2Fnightly/run/", follow=True)

    task = Task.objects.get()
    assert response.redirect_chain[-1][0] == page_of(task)
    assert messages_of(response) == ["The task is submitted."]
    assert (task.payload, task.cron_at) == ({"count": 3}, None)
    assert Schedule.objects.values().get(pk="adm/nightly") == before
    messages = set(LogEntry.objects.values_list("object_id", "change_message"))
    assert messages == {("adm/nightly", f"Ran now as {task.pk}."), (str(task.pk), "Submitted from its schedule.")}


def test_the_last_result_links_to_its_task(viewer, nightly):
    Schedule.objects.filter(pk="adm/nightly").update(next_at=Now() - timedelta(days=1))
    cron.enqueue_due()
    work()

    response = viewer.get(SCHEDULES)

    assert page_of(Task.objects.get(pipeline="adm/nightly")) in response.content.decode()
    assert "Succeeded" in text_of(response)


def test_running_a_schedule_needs_add_task(viewer, runner, nightly, pipeline_without_code):
    Schedule.objects.create(
        pipeline=pipeline_without_code, expression="0 3 * * *", timezone="UTC", misfire="once", next_at=Now()
    )

    assert viewer.post(f"{SCHEDULES}adm_2Fnightly/run/").status_code == 403
    assert "Run now" not in text_of(viewer.get(SCHEDULES))
    assert "Run now" in text_of(runner.get(SCHEDULES))
    assert messages_of(runner.post(f"{SCHEDULES}none/run/", follow=True)) == ["Pipeline none has no schedule."]
    gone = runner.post(f"{SCHEDULES}gone_2Faway/run/", follow=True)
    assert messages_of(gone)[0].startswith("No task was created: No pipeline is called 'gone/away'.")
    assert not Task.objects.exists()


def test_empty_lists_explain_themselves(viewer):
    Schedule.objects.all().delete()
    assert "No pipeline has a schedule." in text_of(viewer.get(SCHEDULES))
    assert "No request was skipped: each created a task." in text_of(viewer.get(SKIPS))
    assert "No skipped request matches." in text_of(viewer.get(SKIPS, {"kind": "misfire"}))
