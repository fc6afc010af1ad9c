"""Skips and schedules: to be read, not to be changed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from taskqueue.models import Schedule, Skip
from tests.admin.pages import page_of, text_of

SKIPS = "/admin/taskqueue/skip/"
SCHEDULES = "/admin/taskqueue/schedule/"


@pytest.fixture
def skips(queued):
    Skip.objects.create(pipeline_id="demo/task", kind="duplicate", reason="Its key stands.", key="order-1", task=queued)
    Skip.objects.create(pipeline_id="demo/task", kind="misfire", reason="It came too late.")


@pytest.mark.parametrize("address", [SKIPS, SCHEDULES])
def test_viewing_needs_the_right_to_and_nothing_is_added_by_hand(address, client, stranger, viewer, admin):
    assert client.get(address).url.startswith("/admin/login/")
    assert stranger.get(address).status_code == 403
    assert viewer.get(address).status_code == 200
    assert admin.get(f"{address}add/").status_code == 403


def test_skips_are_listed_with_their_reasons_and_lead_to_the_task(viewer, skips, queued):
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


def test_schedules_tell_the_next_tick(viewer):
    Schedule.objects.create(
        pipeline_id="demo/task",
        expression="0 3 * * *",
        timezone="Europe/Berlin",
        misfire="once",
        next_at=Now() + timedelta(minutes=61),
    )

    text = text_of(viewer.get(SCHEDULES))

    assert "demo/task 0 3 * * * Europe/Berlin once in 1h" in text


def test_the_lists_need_a_fixed_number_of_queries(admin, skips, django_assert_num_queries):
    for address in (SKIPS, SCHEDULES):
        with django_assert_num_queries(5):  # session, user, the filter's pipelines, count, rows
            admin.get(address)
