"""Streams to callers under a real ASGI server, while real workers execute the tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from demo.pipelines import DemoRequest, demo_task
from taskqueue import current_task, pipeline, step
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.tasks import control
from taskqueue.models import StreamWatch
from taskqueue.testing import work
from tests.support.event_streams import Event, following
from tests.support.processes.asgi import connections, served
from tests.support.processes.processes import http_status
from tests.support.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.django_db(transaction=True)]

STREAMS = 300


@pytest.fixture
def port(tmp_path) -> Iterator[int]:
    with served("gunicorn", tmp_path) as (port, _process):
        yield port


@step
def speak(words: str) -> str:
    for word in words.split():
        current_task().write(word)
        current_task().logger.info("said %s", word)
    current_task().progress(0.5, "half")
    return words


@pipeline("streams/speaking")
def speaking(words: str = "one two") -> str:
    return speak(words)


def names(events: list[Event]) -> list[str]:
    return [event.name for event in events]


def test_a_stream_has_all_that_happens_until_the_end_and_then_closes(port):
    task = speaking.enqueue()
    with following(port, f"/api/tasks/{task.pk}/stream") as stream:
        assert (stream.status, stream.content_type) == (200, "text/event-stream")
        [first] = stream.until("status")
        assert (first.data["status"], first.data["id"]) == ("queued", str(task.pk))
        eventually(lambda: StreamWatch.objects.filter(pk=task.pk).exists())

        work()
        events = list(stream)

    assert [event.data["text"] for event in events if event.name == "log"] == ["said one", "said two"]
    assert [event.data for event in events if event.name == "chunk"] == [
        {"step": "speak", "attempt": 1, "execution": 1, "text": "onetwo", "is_cut": False}
    ]
    assert names(events)[-2:] == ["status", "end"]
    assert events[-1].data["status"] == "succeeded"


def test_a_cut_stream_is_resumed_without_loss_or_repetition(port):
    task = speaking.enqueue("a b c")
    path = f"/api/tasks/{task.pk}/stream"
    work()
    with following(port, path) as stream:
        whole = list(stream)

    for cut in range(len(whole)):
        with following(port, path) as stream:
            before = [event for event, _ in zip(stream, range(cut), strict=False)]
        with following(port, path, Last_Event_ID=before[-1].id if before else "") as stream:
            assert before + list(stream) == whole
    with following(port, path, Last_Event_ID=whole[-1].id) as stream:
        assert stream.status == 204
    control.retry(task.pk, from_step="speak")
    with following(port, path, Last_Event_ID=whole[-1].id) as stream:
        assert stream.until("status")[-1].data["status"] == "queued"


def test_under_asgi_hundreds_of_streams_use_no_connection_each(port):
    sync_pipelines()
    tasks = [demo_task.enqueue(DemoRequest(label="followed")) for _ in range(STREAMS)]
    with ExitStack() as stack:
        streams = [stack.enter_context(following(port, f"/api/tasks/{task.pk}/stream")) for task in tasks]
        assert {stream.until("status")[0].data["status"] for stream in streams} == {"queued"}
        eventually(lambda: connections() <= 12, details=lambda: str(connections()))
        for path in ("/api/pipelines", "/api/health/ready"):
            assert http_status(f"http://127.0.0.1:{port}{path}") == 200

        for task in tasks:
            control.cancel(task.pk)
        ends = [list(stream)[-1] for stream in streams]

        assert {(end.name, end.data["status"]) for end in ends} == {("end", "cancelled")}
        assert [end.data["id"] for end in ends] == [str(task.pk) for task in tasks]
        eventually(lambda: connections() <= 12, details=lambda: str(connections()))


def test_a_task_that_does_not_exist_is_not_followed(port):
    path = "/api/tasks/0192d5a0-7c1e-7b3a-9f4e-2d6c8a1b5e90/stream"
    with following(port, path) as stream:
        assert (stream.status, stream.content_type) == (404, "application/problem+json")
    with following(port, path, Last_Event_ID="soon") as stream:
        assert stream.status == 400
