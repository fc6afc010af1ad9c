"""Queues on the admin's pages: pipelines show theirs and can be moved, workers show which they take."""

from __future__ import annotations

import pytest

from taskqueue import pipeline, step
from taskqueue.engine.actions.queues import move_pipeline
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.models import Pipeline
from taskqueue.testing import InProcessWorker
from tests.support.admin_pages import messages_of, text_of
from tests.support.users import client_of

PIPELINES, WORKERS = "/admin/taskqueue/pipeline/", "/admin/taskqueue/worker/"
LETTERS = f"{PIPELINES}pages_2Fletters/"


@pipeline("pages/letters", queue="mail")
def letters() -> None: ...


@step(queue="render")
def draw() -> None: ...


@pipeline("pages/drawing")
def drawing() -> None:
    draw()


@pytest.fixture(autouse=True)
def _synced(db):
    sync_pipelines()


@pytest.fixture
def mover():
    return client_of("mona", "view_pipeline", "change_pipeline")


def test_a_pipeline_is_moved_on_its_page_and_set_back(mover):
    assert "Queue in code: mail." in text_of(mover.get(f"{LETTERS}change/"))

    response = mover.post(f"{LETTERS}move/", {"move-queue": "night"}, follow=True)

    assert messages_of(response) == [
        "Pipeline pages/letters is in queue night. This applies to all claims from now on."
    ]
    assert Pipeline.objects.get(pk="pages/letters").queue == "night"
    assert "mona Moved from queue mail to night." in text_of(response)
    mover.post(f"{LETTERS}move/", {"move-queue": ""})
    assert Pipeline.objects.get(pk="pages/letters").effective_queue == "mail"


def test_moving_needs_change_pipeline(viewer):
    assert viewer.post(f"{LETTERS}move/", {"move-queue": "night"}).status_code == 403
    assert viewer.get(f"{LETTERS}move/").status_code == 405
    move_pipeline("pages/letters", "night")

    text = text_of(viewer.get(f"{LETTERS}change/"))

    assert "night, instead of mail, the queue in code" in text
    assert "Move to this queue" not in text


def test_an_invalid_queue_is_refused_at_its_field(mover):
    response = mover.post(f"{LETTERS}move/", {"move-queue": "Night shift"})

    assert "A queue cannot be called" in text_of(response)
    assert 'value="Night shift"' in response.content.decode()
    assert Pipeline.objects.get(pk="pages/letters").queue == ""


def test_moving_an_unknown_pipeline_leads_to_the_list(mover):
    response = mover.post(f"{PIPELINES}no_2Fsuch/move/", {"move-queue": "night"}, follow=True)

    assert messages_of(response) == ["There is no pipeline no/such."]


def test_the_list_shows_and_filters_queues(viewer):
    assert "pages/letters mail" in text_of(viewer.get(PIPELINES, {"q": "pages/letters"}))

    text = text_of(viewer.get(PIPELINES, {"queue": "mail"}))

    assert "pages/letters" in text
    assert "Submit a task of demo/task" not in text
    assert "demo/task" not in text


def test_the_page_says_that_no_worker_takes_the_queue(viewer):
    with InProcessWorker(not_queues="mail"):
        assert "Queue mail no live worker takes it" in text_of(viewer.get(f"{LETTERS}change/"))
        with InProcessWorker(queues="mail"):
            assert "no live worker takes it" not in text_of(viewer.get(f"{LETTERS}change/"))


def test_workers_show_their_queues(viewer):
    with InProcessWorker(queues="mail,gpu") as some, InProcessWorker(not_queues="gpu"), InProcessWorker():
        text = text_of(viewer.get(WORKERS))
        page = text_of(viewer.get(f"{WORKERS}{some.worker}/change/"))

    assert text.count("queues:") == 2
    assert "queues: mail, gpu" in text
    assert "queues: all but gpu" in text
    assert "Queues: mail, gpu" in page


def test_the_overview_names_queues_with_tasks_and_without_workers(viewer):
    letters.enqueue()
    warning = "No live worker takes queue mail (1 task)."
    with InProcessWorker(not_queues="mail"):
        text = text_of(viewer.get("/admin/"))
    assert warning in text
    assert "queues: all but mail" in text

    letters.enqueue()
    with InProcessWorker():
        assert "takes queue mail" not in text_of(viewer.get("/admin/", {"range": "1h"}))


def test_the_overview_and_the_task_name_the_queue_of_a_step(viewer):
    with InProcessWorker(not_queues="render") as worker:
        task = drawing.enqueue()
        worker.work()

        assert "No live worker takes queue render (1 task)." in text_of(viewer.get("/admin/"))
    page = text_of(viewer.get(f"/admin/taskqueue/task/{task.pk}/change/"))
    assert "Queue render" in page


def test_a_pipelines_page_shows_the_queue_of_a_step(viewer):
    assert "draw render" in text_of(viewer.get(f"{PIPELINES}pages_2Fdrawing/change/"))
