"""The filters above the lists, also with hundreds of pipelines."""

from __future__ import annotations

from datetime import timedelta

import pytest

from demo.pipelines import DemoRequest, demo_task
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.maintenance.rollups import roll_up
from taskqueue.engine.tasks import control
from taskqueue.models import Pipeline
from taskqueue.testing import advance
from tests.support.admin_pages import LIST, ids_on, text_of

PIPELINES = "/admin/taskqueue/pipeline/"


@pytest.fixture
def many_pipelines():
    """200 more pipelines."""
    names = [f"team-{number % 8}/job-{number:03}" for number in range(200)]
    Pipeline.objects.bulk_create(Pipeline(name=name) for name in names)
    return names


def names_on(response) -> list[str]:
    return [row.pk for row in response.context["cl"].result_list]


def test_many_pipelines_are_filtered_by_a_text_input(viewer, queued, many_pipelines):
    page = viewer.get(LIST).content.decode()

    assert page.count("pipeline=team-") == 0
    assert page.count('<option value="team-') == 200
    assert "?pipeline=demo%2Ftask" in page  # the only one in view


def test_a_few_pipelines_are_all_listed(viewer, queued):
    Pipeline.objects.exclude(pk=queued.pipeline_id).delete()

    page = viewer.get(LIST).content.decode()

    assert "<datalist" not in page.replace('<datalist id="tq-search-options', "")
    assert page.count("?pipeline=") == Pipeline.objects.count()


def test_an_active_filter_shows_its_value_and_can_be_removed(viewer, queued, many_pipelines):
    page = viewer.get(LIST, {"pipeline": "team-1/job-001", "retried": "no"}).content.decode()

    assert "Pipeline: <b>team-1/job-001</b>" in page
    assert 'href="?retried=no" aria-label="Remove the filter pipeline"' in page
    assert 'href="?pipeline=team-1%2Fjob-001" aria-label="Remove the filter failed attempts"' in page


@pytest.mark.parametrize(
    ("begin", "end", "is_found"),
    [(-9, 9, True), (-9, None, True), (None, 9, True), (1, None, False), (None, -1, False)],
)
def test_an_end_time_range_may_be_open(viewer, failed, queued, begin, end, is_found):
    ends = {"ended_from": begin, "ended_before": end}
    chosen = {
        name: f"{failed.finished_at + timedelta(minutes=minutes):%Y-%m-%dT%H:%M}"
        for name, minutes in ends.items()
        if minutes is not None
    }

    response = viewer.get(LIST, chosen)

    assert ids_on(response) == ([str(failed.pk)] if is_found else [])
    assert all(f'value="{moment}"' in response.content.decode() for moment in chosen.values())


@pytest.mark.parametrize(
    "span", [{"ended_from": "soon"}, {"ended_from": "2026-01-02T00:00", "ended_before": "2026-01-01T00:00"}]
)
def test_an_invalid_time_redirects_to_the_whole_list(viewer, queued, span):
    assert viewer.get(LIST, span).url == f"{LIST}?e=1"


def test_pipelines_with_failures_come_first(viewer, failed, many_pipelines):
    demo_task.enqueue(DemoRequest(label="queued", delay_seconds=0))
    control.pause_pipeline("team-3/job-003", reason="deploy", actor=Actor(None, "dana"))
    advance(minutes=2)
    roll_up()

    assert names_on(viewer.get(PIPELINES))[:2] == ["demo/task", "team-3/job-003"]
    assert names_on(viewer.get(PIPELINES, {"sort": "name", "q": "JOB-00"}))[:2] == ["team-0/job-000", "team-0/job-008"]
    assert names_on(viewer.get(PIPELINES, {"only": "failed"})) == ["demo/task"]
    assert names_on(viewer.get(PIPELINES, {"only": "queued", "sort": "queue"})) == ["demo/task"]
    assert names_on(viewer.get(PIPELINES, {"only": "paused", "group": "team-3"})) == ["team-3/job-003"]
    assert len(names_on(viewer.get(PIPELINES, {"group": "team-3"}))) == 25
    assert "team-3 (25)" in text_of(viewer.get(PIPELINES))
    assert viewer.get(PIPELINES, {"only": "trouble"}).url == f"{PIPELINES}?e=1"


def test_the_pipeline_list_needs_few_queries(viewer, many_pipelines, django_assert_max_num_queries):
    with django_assert_max_num_queries(14):
        response = viewer.get(PIPELINES, {"p": "5"})

    assert len(names_on(response)) == min(50, Pipeline.objects.count() - 200)
