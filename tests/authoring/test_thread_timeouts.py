"""Soft timeouts of steps in threads: an exception in the step's thread, and nowhere else."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from django.db import connection, connections

from taskqueue import Retry, pipeline, step
from taskqueue.engine.author_code.thread_timeouts import thread_alarm
from taskqueue.errors import StepTimedOut
from taskqueue.models import Attempt, Step, Task
from taskqueue.testing import run_inline
from tests.support.waiting import eventually

T = TypeVar("T")
TIMEOUT = timedelta(seconds=0.2)


def in_thread(function: Callable[[], T]) -> T:
    """Call a function in another thread, as workers do, and close its connections."""

    def call() -> T:
        try:
            return function()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1, thread_name_prefix="taskqueue-slot") as pool:
        return pool.submit(call).result()


def no_query() -> None: ...


def loop_until(until: float, *, pause: float = 0.0) -> None:
    """A loop in a function of its own: Python 3.13.0 leaves the `try` around a `while` with a condition, in the same
    function, when a signal or an asynchronous exception comes at the end of a round.
    """
    while time.monotonic() < until:
        if pause:
            time.sleep(pause)


def test_code_that_runs_too_long_gets_the_exception_once():
    cleaned_up = []

    def work() -> None:
        with thread_alarm("work", TIMEOUT, no_query):
            try:
                while True:
                    time.sleep(0.001)
            finally:
                time.sleep(0.05)
                cleaned_up.append(True)

    with pytest.raises(StepTimedOut, match=r"Step 'work' ran longer than its timeout of 0\.2 s"):
        in_thread(work)
    assert cleaned_up == [True]


def test_an_exception_that_came_too_late_is_taken_back():
    """The step ends in the moment in which its exception is raised: it never comes after the step."""
    alarm = timedelta(milliseconds=3)
    late = []

    def work() -> None:
        for number in range(300):
            until = time.monotonic() + alarm.total_seconds() + (number % 30 - 15) / 20_000
            try:
                with thread_alarm("work", alarm, no_query):
                    loop_until(until)
            except StepTimedOut:
                pass
            try:
                for _ in range(2_000):
                    _ = number + 1
            except StepTimedOut:
                late.append(number)

    in_thread(work)
    assert late == []


PROFILED_AFTER_A_TIMEOUT = """
import sys, threading, time
from datetime import timedelta
from taskqueue.engine.author_code.thread_timeouts import thread_alarm
from taskqueue.errors import StepTimedOut

def loop():
    while True:
        pass

def late():
    try:
        with thread_alarm("work", timedelta(milliseconds=20), lambda: None):
            loop()
    except StepTimedOut:
        print("timed out")

thread = threading.Thread(target=late)
thread.start()
thread.join()
sys.setprofile(lambda *_event: None)
(lambda: None)()
sys.setprofile(None)
"""


def test_a_timeout_leaves_no_work_to_the_interpreter():
    """Python 3.11 under a profiler or a debugger never left a call while an exception was noted for no thread."""
    program = [sys.executable, "-c", PROFILED_AFTER_A_TIMEOUT]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (0, "timed out\n"), done.stderr


class QuietHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None: ...


def log_a_line(lock: Any) -> None:
    handler = QuietHandler()
    handler.lock = lock
    handler.handle(logging.makeLogRecord({}))


def enter_a_condition(lock: Any) -> None:
    """As `queue.Queue` does, and with it every pool of connections or threads."""
    with threading.Condition(lock):
        pass


@pytest.mark.parametrize("use", [log_a_line, enter_a_condition])
def test_a_lock_of_the_library_that_the_thread_waits_for_is_not_left_locked(use):
    lock = threading.Lock()

    def work() -> None:
        with thread_alarm("work", TIMEOUT, no_query):
            use(lock)
            while True:
                time.sleep(0.001)

    lock.acquire()
    with ThreadPoolExecutor(1, thread_name_prefix="taskqueue-thread") as pool:
        working = pool.submit(work)
        time.sleep(2 * TIMEOUT.total_seconds())  # until the exception would be pending
        lock.release()
        with pytest.raises(StepTimedOut):
            working.result()

    assert lock.acquire(blocking=False)


def test_alarms_of_several_threads_reach_their_own():
    outcomes: dict[int, str] = {}
    barrier = threading.Barrier(6)

    def work(number: int) -> None:
        barrier.wait()
        try:
            with thread_alarm(str(number), TIMEOUT if number % 2 else timedelta(minutes=5), no_query):
                loop_until(time.monotonic() + 3 * TIMEOUT.total_seconds(), pause=0.001)
            outcomes[number] = "ended"
        except StepTimedOut as error:
            outcomes[number] = str(error).split("'")[1]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outcomes == {0: "ended", 1: "1", 2: "ended", 3: "3", 4: "ended", 5: "5"}


def test_an_error_of_the_cancellation_leaves_the_alarms_of_other_steps():
    def fail() -> None:
        raise RuntimeError("no cancellation")

    def work(cancel: Callable[[], None]) -> None:
        with thread_alarm("work", TIMEOUT, cancel):
            while True:
                time.sleep(0.001)

    with pytest.raises(StepTimedOut):
        in_thread(lambda: work(fail))
    with pytest.raises(StepTimedOut):
        in_thread(lambda: work(no_query))


@step(timeout=TIMEOUT, retry=Retry.never())
def query_for_long() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(600)")


@pipeline("threads/query")
def with_a_query() -> None:
    query_for_long()


@pytest.mark.django_db(transaction=True)
def test_the_query_of_a_step_in_a_thread_is_cancelled_and_the_connection_stays_usable():
    in_thread(lambda: run_inline(with_a_query))

    task = Task.objects.get()
    assert task.status == "failed"
    assert Step.objects.get().status == "failed"
    assert [attempt.outcome for attempt in Attempt.objects.all()] == ["timed_out"]
    with connection.cursor() as cursor:

        def is_sleeping() -> bool:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(600)%' "
                "AND pid <> pg_backend_pid()"
            )
            return bool(cursor.fetchone()[0])

        eventually(lambda: not is_sleeping())
