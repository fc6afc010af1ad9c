"""current_task().write(): text that a step sends to the callers that follow its task."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from pydantic import BaseModel, SecretStr

from taskqueue import Retry, current_task, gather, pipeline, step
from taskqueue.models import Chunk, Task
from taskqueue.testing import InProcessWorker, advance, run_inline, work
from tests.support.database.histories import prune
from tests.support.endings import finish

pytestmark = pytest.mark.django_db
seen: list[Any] = []


@pytest.fixture(autouse=True)
def _clear() -> None:
    seen.clear()


def texts() -> list[tuple[str, int, str]]:
    return list(Chunk.objects.order_by("pk").values_list("step", "attempt", "text"))


@step
def answer(words: str) -> int:
    for word in words.split():
        current_task().write(word)
    return len(words)


@pipeline("write/answer")
def answering(words: str = "one two") -> int:
    return answer(words)


def test_what_a_step_writes_is_kept_as_one_chunk():
    task = finish(answering.enqueue())

    chunk = Chunk.objects.get()
    assert (chunk.task_id, chunk.step, chunk.attempt, chunk.text) == (task.pk, "answer", 1, "onetwo")
    assert (chunk.total, chunk.is_cut, chunk.is_secret) == (6, False, False)


def test_run_inline_keeps_it_too():
    run_inline(answering, "a b")

    assert texts() == [("answer", 1, "ab")]


def test_a_retry_writes_under_its_own_attempt_and_lease():
    @step(retry=Retry.fixed(timedelta(minutes=1), retries=1))
    def flaky() -> None:
        current_task().write(f"attempt {current_task().attempt}")
        if current_task().attempt == 1:
            raise ConnectionError

    @pipeline("write/flaky")
    def body() -> None:
        flaky()

    finish(body.enqueue())

    assert texts() == [("flaky", 1, "attempt 1"), ("flaky", 2, "attempt 2")]
    assert list(Chunk.objects.order_by("pk").values_list("lease", flat=True)) == [1, 2]


def test_an_async_step_writes_and_a_parallel_step_writes_for_its_parent():
    @step
    async def stream(number: int) -> None:
        current_task().write(f"<{number}>")

    @pipeline("write/parallel")
    def body() -> None:
        gather(stream.defer(1), stream.defer(2))

    task = finish(body.enqueue())

    assert sorted(text for _, _, text in texts()) == ["<1>", "<2>"]
    assert set(Chunk.objects.values_list("task", flat=True)) == {task.pk}


def test_a_failed_atomic_step_keeps_what_it_wrote_and_nothing_else():
    @step.atomic(retry=Retry.never())
    def broken() -> None:
        Group.objects.create(name="gone")
        current_task().write("almost")
        raise ValueError

    @pipeline("write/atomic")
    def body() -> None:
        broken()

    finish(body.enqueue())

    assert texts() == [("broken", 1, "almost")]
    assert not Group.objects.exists()


def test_a_body_may_not_write():
    @pipeline("write/body", retry=Retry.never())
    def body() -> None:
        current_task().write("again and again")

    error = finish(body.enqueue()).error

    assert error is not None
    assert error["type"] == "InvalidContext"
    assert "write() is for steps" in error["message"]


def test_only_text_is_written():
    @step(retry=Retry.never())
    def wrong() -> None:
        current_task().write(b"bytes")  # type: ignore[arg-type]

    @pipeline("write/bytes")
    def body() -> None:
        wrong()

    error = finish(body.enqueue()).error

    assert error is not None
    assert "write() takes a text, not bytes" in error["message"]


def test_beyond_the_limit_one_chunk_says_that_text_is_missing(settings):
    settings.TASKQUEUE = {"TASK_CHUNKS_MAX_BYTES": 5}

    @pipeline("write/much")
    def body() -> None:
        for words in ("four", "more", "cut", "cut again"):
            answer(words)

    finish(body.enqueue())

    assert list(Chunk.objects.order_by("pk").values_list("text", "is_cut")) == [
        ("four", False), ("more", False), ("", True),
    ]  # fmt: skip


def test_a_worker_without_its_lease_adds_nothing():
    zombie = InProcessWorker()

    @step
    def slow() -> None:
        current_task().write(f"worker {len(seen)}")
        if not seen:
            seen.append("zombie")
            zombie.die()
            work()

    @pipeline("write/zombie")
    def body() -> None:
        slow()

    body.enqueue()
    zombie.work()

    assert texts() == [("slow", 1, "worker 1")]


class Card(BaseModel):
    number: SecretStr


def test_chunks_of_a_task_with_secrets_are_marked():
    @step
    def charge(number: str) -> None:
        current_task().write("4111")

    @pipeline("write/secret")
    def body(card: Card) -> None:
        charge("7")

    finish(body.enqueue(Card(number=SecretStr("4111"))))

    assert Chunk.objects.get().is_secret


def test_chunks_are_deleted_with_their_task():
    finish(answering.enqueue())
    advance(days=29)
    prune()
    assert texts()

    advance(days=2)
    prune()

    assert (Task.objects.exists(), texts()) == (False, [])
