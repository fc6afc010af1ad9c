"""What a step writes for callers is in the database while the step runs."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone

from taskqueue import current_task, pipeline, step
from taskqueue.engine.streams.watch import LISTEN
from taskqueue.engine.worker.heartbeat_thread import private_connection
from taskqueue.engine.worker.loop import run_until_idle
from taskqueue.models import Chunk, StreamWatch, Task
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)
seen: list[Any] = []


def texts_from(number: int) -> list[tuple[str, int, str]]:
    return list(Chunk.objects.order_by("pk").values_list("step", "attempt", "text")[number:])


def test_the_heartbeat_adds_chunks_while_an_atomic_step_has_its_transaction_open(heartbeat):
    @step.atomic
    def slow() -> None:
        Group.objects.create(name="open")
        for number in range(3):
            current_task().write(str(number))
            seen.append(eventually(partial(texts_from, number)))

    @pipeline("write/live")
    def body() -> None:
        slow()

    body.enqueue()
    run_until_idle(heartbeat, budget=timedelta(seconds=60), stopping=lambda: False)

    assert seen == [[("slow", 1, "0")], [("slow", 1, "1")], [("slow", 1, "2")]]
    assert Task.objects.get().status == "succeeded"


def test_a_followed_task_is_announced_when_it_changes_and_when_its_step_writes(heartbeat):
    @step
    def write() -> None:
        current_task().write("a")
        eventually(Chunk.objects.exists)

    @pipeline("write/announced")
    def body() -> None:
        write()

    task, alone = body.enqueue(), body.enqueue()
    StreamWatch.objects.create(task=task, until=timezone.now())
    with closing(private_connection()) as listener:
        listener.execute(LISTEN)
        run_until_idle(heartbeat, budget=timedelta(seconds=60), stopping=lambda: False)
        payloads = [each.payload for each in listener.notifies(timeout=90, stop_after=3)]

    assert payloads == [str(task.pk)] * 3  # it began, it has written, it has ended
    assert Chunk.objects.filter(task=alone).exists()
