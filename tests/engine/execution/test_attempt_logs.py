"""What a step logs is stored with the attempt, in the statement that records the attempt."""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import timedelta

import pytest
from django.db import connection

from taskqueue import Permanent, Retry, current_task, gather, pipeline, step
from taskqueue.engine.author_code import log_capture
from taskqueue.models import Attempt, Step, Task
from taskqueue.testing import InProcessWorker, advance, work

pytestmark = pytest.mark.django_db(transaction=True)

logger = logging.getLogger("shop.warehouse")
SOON = Retry.fixed(timedelta(seconds=10), retries=1)


@pytest.fixture(autouse=True)
def _told_from_info_on(caplog):
    caplog.set_level(logging.INFO)


@step(retry=SOON)
def pack(number: int) -> int:
    logger.info("packing %s on attempt %s", number, current_task().attempt)
    logger.debug("not loud enough")
    if current_task().attempt == 1:
        logger.error("the box is torn\nin two")
        raise ConnectionError("torn")
    return number


@step
def silent(number: int) -> int:
    return number


@pipeline("logs/pack")
def packing(number: int) -> int:
    logger.info("between the steps, so of no step")
    return silent(pack(number))


def stored_lines(logs) -> list[tuple[str, str, str]]:
    """Level, logger and text of each stored line."""
    return [(level, name, text) for _at, level, name, text in logs["lines"]]


def test_each_attempt_keeps_its_own_log_lines():
    task = packing.enqueue(7)
    work()
    advance(minutes=1)
    work()

    failed = Attempt.objects.get(task=task)
    assert stored_lines(failed.logs) == [
        ("INFO", "shop.warehouse", "packing 7 on attempt 1"),
        ("ERROR", "shop.warehouse", "the box is torn\nin two"),
    ]
    assert failed.logs["dropped"] == 0
    assert all(at >= 0 for at, *_rest in failed.logs["lines"])
    assert stored_lines(Step.objects.get(task=task, key="pack").logs) == [
        ("INFO", "shop.warehouse", "packing 7 on attempt 2")
    ]


def test_a_step_that_logs_nothing_stores_nothing():
    task = packing.enqueue(7)
    work()
    advance(minutes=1)
    work()

    assert Step.objects.get(task=task, key="silent").logs is None


def test_log_lines_cost_no_statement():
    def statements() -> int:
        packing.enqueue(7)
        with InProcessWorker() as worker:
            connection.force_debug_cursor = True
            before = len(connection.queries_log)
            worker.work()
            connection.force_debug_cursor = False
            return len(connection.queries_log) - before

    with_lines = statements()
    logger.setLevel(logging.CRITICAL)
    try:
        assert statements() == with_lines
    finally:
        logger.setLevel(logging.NOTSET)


@step
def talkative(lines: int, length: int) -> None:
    for number in range(lines):
        logger.info("%s %s", number, "x" * length)


@pipeline("logs/talk")
def talking(lines: int, length: int) -> None:
    talkative(lines, length)


@pytest.mark.parametrize(("lines", "length", "stored_count"), [(250, 1, 100), (30, 1000, 16), (2, 100_000, 2)])
def test_only_the_last_lines_are_kept_and_dropped_ones_counted(lines, length, stored_count):
    task = talking.enqueue(lines, length)
    work()

    stored = Step.objects.get(task=task).logs
    assert (len(stored["lines"]), stored["dropped"]) == (stored_count, lines - stored_count)
    assert stored["lines"][-1][-1].startswith(f"{lines - 1} ")
    assert len("".join(text for *_rest, text in stored["lines"])) <= 16 * 1024


def test_the_setting_turns_log_capture_off(settings):
    settings.TASKQUEUE = {"STEP_LOG_LINES": 0}

    task = talking.enqueue(3, 1)
    work()

    assert Step.objects.get(task=task).logs is None


def test_concurrent_async_steps_keep_their_own_lines():
    @step
    async def whisper(name: str) -> None:
        for number in range(3):
            logger.info("%s %s", name, number)
            await asyncio.sleep(0)

    @pipeline("logs/async")
    async def body() -> None:
        await asyncio.gather(whisper("a"), whisper("b"))

    task = body.enqueue()
    work()

    for key, name in (("whisper", "a"), ("whisper#2", "b")):
        logs = Step.objects.get(task=task, key=key).logs
        assert [text for *_rest, text in logs["lines"]] == [f"{name} {number}" for number in range(3)]


def test_lines_from_a_steps_threads_belong_to_the_step():
    @step
    def hire() -> None:
        thread = threading.Thread(target=logger.info, args=("from a thread",))
        thread.start()
        thread.join()

    @step
    async def hire_async() -> None:
        await asyncio.to_thread(logger.info, "from an async step's thread")

    @pipeline("logs/thread")
    async def body() -> None:
        await hire.aio()
        await hire_async()

    task = body.enqueue()
    work()

    texts = {row.key: [line[-1] for line in row.logs["lines"]] for row in Step.objects.filter(task=task)}
    assert texts == {"hire": ["from a thread"], "hire-async": ["from an async step's thread"]}


@step
def stamp(number: int) -> int:
    logger.info("stamping %s", number)
    return number


@step
def tear(number: int) -> int:
    logger.info("tearing %s", number)
    raise Permanent("torn")


@pipeline("logs/gather")
def gathering() -> None:
    gather(stamp.defer(1), tear.defer(2), errors="collect")


def test_a_parallel_steps_lines_are_stored_with_its_parent_task():
    task = gathering.enqueue()
    work()

    assert Task.objects.get(pk=task.pk).status == "succeeded"
    assert stored_lines(Step.objects.get(task=task, key="stamp").logs) == [("INFO", "shop.warehouse", "stamping 1")]
    assert stored_lines(Attempt.objects.get(task=task, step_key="tear").logs) == [
        ("INFO", "shop.warehouse", "tearing 2")
    ]


@step
def careless() -> None:
    logger.info("no number: %d", "x")
    logger.info("a NUL \0 and half a pair \ud800")
    try:
        {}["inner"]
    except KeyError:
        logger.exception("with its traceback")


@pipeline("logs/careless")
def careless_pipeline() -> None:
    careless()


def test_a_record_that_cannot_be_formatted_or_stored_fails_nothing(monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    task = careless_pipeline.enqueue()
    with InProcessWorker() as worker:
        # The handlers of pytest cannot format the record either.
        for handler in [each for each in logging.getLogger().handlers if each is not log_capture.HANDLER]:
            monkeypatch.setattr(handler, "emit", lambda _record: None)
        worker.work()

    texts = [text for *_rest, text in Step.objects.get(task=task).logs["lines"]]
    assert texts[0] == "a NUL \N{SYMBOL FOR NULL} and half a pair ?"
    assert texts[1].startswith("with its traceback\nTraceback")
    assert "KeyError: 'inner'" in texts[1]


def test_each_other_handler_still_gets_a_record_once(monkeypatch, caplog):
    heard: list[str] = []
    monkeypatch.setattr(logging.lastResort, "handle", lambda record: heard.append(record.getMessage()))
    record = logging.LogRecord("shop.lonely", logging.WARNING, __file__, 1, "alone", None, None)

    log_capture.HANDLER.emit(record)
    assert heard == []  # the tests' own handler hears it

    monkeypatch.setattr(logging.getLogger("shop.lonely"), "propagate", False)
    log_capture.HANDLER.emit(record)
    assert heard == ["alone"]
