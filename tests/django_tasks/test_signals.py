"""The three signals, and the lines that Django logs of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from taskqueue.django_tasks import TaskqueueBackend
from taskqueue.testing import work
from tests.support.django_tasks import tasks
from tests.support.django_tasks.framework import PACKAGE, signals

pytestmark = [pytest.mark.smoke, pytest.mark.django_db(transaction=True)]

SIGNALS = {"enqueued": signals.task_enqueued, "started": signals.task_started, "finished": signals.task_finished}


@pytest.fixture
def received() -> Iterator[list[object]]:
    """What a project's receivers get: signal, sender, and what the result says at that time."""
    found: list[object] = []

    def receiver_of(name):
        def receive(sender, task_result, **_signal):
            times = [bool(task_result.enqueued_at), bool(task_result.started_at)]
            found.append((name, sender, task_result.id, str(task_result.status), task_result.attempts, times))

        return receive

    receivers = {name: receiver_of(name) for name in SIGNALS}
    for name, signal in SIGNALS.items():
        signal.connect(receivers[name])
    yield found
    for name, signal in SIGNALS.items():
        signal.disconnect(receivers[name])


@pytest.mark.parametrize("name", ["add", "add_async"])
def test_each_signal_is_sent_once(name, received):
    result = getattr(tasks, name).enqueue(1)
    work()

    assert received == [
        ("enqueued", TaskqueueBackend, result.id, "READY", 0, [True, False]),
        ("started", TaskqueueBackend, result.id, "RUNNING", 1, [True, True]),
        ("finished", TaskqueueBackend, result.id, "SUCCESSFUL", 1, [True, True]),
    ]


def test_signals_are_sent_on_the_event_loop(received, event_loop_of_worker):
    tasks.add_async.enqueue(1)
    tasks.fail_async.enqueue()
    work()

    assert sorted(signal[3] for signal in received) == ["FAILED", "READY", "READY", "RUNNING", "RUNNING", "SUCCESSFUL"]


def test_each_attempt_starts_and_only_the_last_one_finishes(received):
    tasks.fail_twice.enqueue()
    work()

    assert [(signal[0], signal[3], signal[4]) for signal in received] == [
        ("enqueued", "READY", 0),
        ("started", "RUNNING", 1),
        ("started", "RUNNING", 2),
        ("started", "RUNNING", 3),
        ("finished", "SUCCESSFUL", 3),
    ]


@pytest.mark.parametrize("code", [pytest.param(0, id="NUL"), pytest.param(8364, id="1,800 bytes")])
def test_a_result_that_cannot_be_stored_is_no_success(code, received, settings):
    settings.TASKQUEUE = {"STEP_OUTPUT_MAX_BYTES": 1000}
    result = tasks.repeat.enqueue(code)
    work()

    result.refresh()
    assert str(result.status) == "FAILED"
    assert [signal[3] for signal in received] == ["READY", "RUNNING", "FAILED"]


@pytest.mark.parametrize("name", ["give_up", "not_json"])
def test_a_failed_task_finishes(name, received):
    getattr(tasks, name).enqueue()
    work()

    assert [signal[3] for signal in received] == ["READY", "RUNNING", "FAILED"]


def test_a_receiver_that_raises_does_not_fail_the_task(caplog):
    def broken(**_signal):
        raise RuntimeError("broken receiver")

    for signal in SIGNALS.values():
        signal.connect(broken)
    try:
        result = tasks.add.enqueue(1)
        work()
    finally:
        for signal in SIGNALS.values():
            signal.disconnect(broken)

    result.refresh()
    assert result.return_value == 2
    assert caplog.text.count("RuntimeError: broken receiver") == 3


def test_django_logs_each_signal(caplog):
    caplog.set_level(logging.DEBUG, logger=PACKAGE)

    result = tasks.add.enqueue(1)
    work()

    lines = [record.getMessage() for record in caplog.records if record.name == PACKAGE]
    begin = f"Task id={result.id} path=tests.support.django_tasks.tasks.add"
    assert lines == [
        f"{begin} enqueued backend=default",
        f"{begin} state=RUNNING",
        f"{begin} state=SUCCESSFUL",
    ]


def test_django_logs_the_exception_of_a_failed_task(caplog):
    tasks.fail.enqueue("own")
    work()

    [line] = [record for record in caplog.records if record.name == PACKAGE and record.levelno == logging.ERROR]
    assert line.exc_info[0] is tasks.OutOfStock
